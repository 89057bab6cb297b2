"""Requests to a model: read from a file, recorded in a version, made up, or written for warm-up."""
