"""A SavedModel's files: written, read without TensorFlow, and checked."""
