"""Changes to a graph: one file for each, in lists that are applied in order."""
