"""Check that a version can be served, matches its checkpoint, and is live on a server."""
