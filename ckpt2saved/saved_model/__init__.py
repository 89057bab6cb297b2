"""A SavedModel's files, read and judged without TensorFlow."""
