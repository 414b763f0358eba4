"""A run's files: where they are, how they are written, what they may hold."""
