"""Inspect a checkpoint, meta graph or SavedModel: its contents, the tensors that can be served, the export command."""
