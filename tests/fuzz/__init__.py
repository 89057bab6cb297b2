"""Fuzzing of every reader of untrusted bytes that needs no TensorFlow: `python -m tests.fuzz --seconds 600`."""
