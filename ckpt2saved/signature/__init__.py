"""What is to be served, parsed once into frozen values."""
