"""What ``task=...`` can be: each module's ``run`` takes the configuration and the run directory."""
