"""A running TF Serving: which versions of a model it has, and what it answers."""
