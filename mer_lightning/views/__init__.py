"""What watches a run: the terminal, dashboards."""
