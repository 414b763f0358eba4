"""The configuration: its schema, and the checks."""
