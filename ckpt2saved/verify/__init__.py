"""Whether a version can be served, answers as its checkpoint does, and is what a server answers."""
