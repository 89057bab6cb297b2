"""Protobuf messages without TensorFlow."""
