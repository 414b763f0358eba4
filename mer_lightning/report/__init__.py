"""From finished runs to statistics, the paper's table and figures, and a page that tells what they show."""
