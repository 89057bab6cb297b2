"""Rewrites of graphs, one file for each, and the lists in which they are applied."""
