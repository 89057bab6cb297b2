"""Checks that need a GPU; CI has none."""
