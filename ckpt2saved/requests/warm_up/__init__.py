"""Warm-up requests: what a server answers before it takes a version; where they come from, and their file."""
