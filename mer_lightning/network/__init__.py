"""The hierarchical network and how one fit of it goes."""
