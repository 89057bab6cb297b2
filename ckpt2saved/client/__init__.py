"""A client of a running TF Serving: status, Predict, waiting for a version."""
