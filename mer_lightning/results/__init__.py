"""From finished rounds to results, and a trained model at work."""
