"""From what users have to a corpus: a reader per layout."""
