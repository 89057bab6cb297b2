"""What a model is asked: requests that are given, recorded, made up, or written for warm-up."""
