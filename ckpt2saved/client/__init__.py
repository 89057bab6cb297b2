"""A running TF Serving: status, Predict, waiting for a version."""
