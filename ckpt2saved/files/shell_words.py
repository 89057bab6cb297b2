"""Paths in commands that a message names, so that these can be copied."""

from __future__ import annotations

import os
import shlex

from ckpt2saved.files.reading import PathLike


def for_shell(path: PathLike) -> str:
    """Return a path as it is typed in a shell, in quotes if it has spaces or the like."""
    return shlex.quote(os.fspath(path))
