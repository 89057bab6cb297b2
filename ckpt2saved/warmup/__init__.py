"""The requests that a server answers while it loads a version: which, how they are made, where they are written."""
