"""Versions in object stores: S3, Google Cloud Storage, Azure Blob Storage, and others that fsspec can reach."""
