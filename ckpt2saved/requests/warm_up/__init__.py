"""Warm-up requests, which a server runs before it serves a version: how they are made, and their file."""
