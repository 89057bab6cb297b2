"""Analyses of a training graph before it is rewritten; they edit nothing."""
