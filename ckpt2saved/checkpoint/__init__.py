"""Checkpoints: files, tensors, savers, and the roles of variables."""
