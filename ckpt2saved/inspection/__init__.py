"""What a checkpoint, meta graph or SavedModel holds, which tensors of it could be served, and under which command."""
