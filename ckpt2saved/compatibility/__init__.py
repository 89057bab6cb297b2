"""Which versions go together: a SavedModel's ops and TF Serving's, TensorFlow and what it needs; without TensorFlow."""
