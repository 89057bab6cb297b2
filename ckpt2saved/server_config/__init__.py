"""Configuration files and commands that start a TF Serving."""
