"""Files and commands that start a TF Serving."""
