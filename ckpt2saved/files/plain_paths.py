"""Links for paths with [ ] * ? or a backslash, which TensorFlow would treat as glob patterns."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Dict, Sequence, Tuple

_PATTERN = re.compile(r"[\[\]*?\\]")
_NAME = "checkpoint"  # replaces the prefix's name

# Path and kind -> temporary directory, removed at exit.
_folders: Dict[Tuple[str, ...], tempfile.TemporaryDirectory[str]] = {}


def is_pattern(path: Path) -> bool:
    """Return whether TensorFlow, and so TF Serving, would treat a path as a glob pattern."""
    return bool(_PATTERN.search(os.path.abspath(os.fspath(path))))


def as_plain_directory(directory: Path) -> str:
    """Return the directory, or a link to it whose path is not a glob pattern."""
    path = os.fspath(directory)
    if not is_pattern(directory):
        return path
    folder = _folder((os.path.abspath(path),))
    link = os.path.join(folder, _PATTERN.sub("_", directory.name) or "directory")
    _link(os.path.abspath(path), link)
    return link


def as_plain_prefix(prefix: Path, files: Sequence[Path]) -> str:
    """Return the checkpoint prefix, or the prefix of links to its files that is not a glob pattern.

    The prefix of a sharded V1 checkpoint stays a pattern that matches its files only.
    """
    name = prefix.name.replace("?????-of-", "")
    directory = as_plain_directory(prefix.parent)
    if not _PATTERN.search(name):
        return os.path.join(directory, prefix.name) if directory != os.fspath(prefix.parent) else str(prefix)
    stem = prefix.name.partition("-?????-of-")[0]
    folder = _folder((os.path.abspath(os.fspath(prefix)), "files"))
    for file in files:
        _link(os.path.abspath(os.fspath(file)), os.path.join(folder, _NAME + file.name[len(stem) :]))
    return os.path.join(folder, _NAME + prefix.name[len(stem) :])


def _folder(key: Tuple[str, ...]) -> str:
    if key not in _folders:
        _folders[key] = tempfile.TemporaryDirectory(prefix="ckpt2saved-")
    return _folders[key].name


def _link(target: str, link: str) -> None:
    if os.path.lexists(link):
        os.remove(link)  # of an earlier checkpoint
    os.symlink(target, link)
