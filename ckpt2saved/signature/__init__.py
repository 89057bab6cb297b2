"""Signature files and options, parsed once into frozen values."""
