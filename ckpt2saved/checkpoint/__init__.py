"""What a training left on disk: files, tensors, savers, roles."""
