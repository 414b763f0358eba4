"""From cached features to the batches of a fold."""
