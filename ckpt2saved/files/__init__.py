"""Reading of untrusted files within limits, and atomic writing of files."""
