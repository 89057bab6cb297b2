"""A TensorFlow checkpoint of an OCR network, published as a SavedModel version that TF Serving hot-loads."""

__version__ = "1.0.0"
