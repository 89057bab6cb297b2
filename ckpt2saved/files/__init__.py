"""Files that others wrote, read within limits; and files that are written."""
