"""Sizes of files as text."""

from __future__ import annotations


def size_text(size: int) -> str:
    """A number of bytes as text: 1.5 MB, and less than 0.1 MB in kB."""
    return f"{size / 1e6:.1f} MB" if size >= 100000 else f"{size / 1e3:.1f} kB"
