"""What TF Serving reads beside the SavedModels, and what starts it with them; without TensorFlow."""
