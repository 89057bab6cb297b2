"""Compatibility of SavedModels with TF Serving, and of TensorFlow with its environment, without TensorFlow."""
