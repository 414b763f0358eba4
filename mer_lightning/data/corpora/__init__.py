"""Published data sets by name: from the folder as delivered to labelled clips, a module each."""
