"""Synchronization of local base directories with the versions of a source, as the side-car of a TF Serving does it."""
