"""A model as one module, in other formats."""
