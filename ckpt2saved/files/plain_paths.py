"""Paths with [ ] * ? or a backslash, which TensorFlow takes for patterns: it is given a link without them."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Dict, Sequence, Tuple

_PATTERN = re.compile(r"[\[\]*?\\]")
_NAME = "checkpoint"  # what stands for a prefix's name

# By path, and what of it: removed when Python ends.
_folders: Dict[Tuple[str, ...], tempfile.TemporaryDirectory[str]] = {}


def is_pattern(path: Path) -> bool:
    """Whether TensorFlow, and so TF Serving, would take a path for a pattern."""
    return bool(_PATTERN.search(os.path.abspath(os.fspath(path))))


def as_plain_directory(directory: Path) -> str:
    """The directory, or a link to it whose path is no pattern."""
    path = os.fspath(directory)
    if not is_pattern(directory):
        return path
    folder = _folder((os.path.abspath(path),))
    link = os.path.join(folder, _PATTERN.sub("_", directory.name) or "directory")
    _link(os.path.abspath(path), link)
    return link


def as_plain_prefix(prefix: Path, files: Sequence[Path]) -> str:
    """The prefix of a checkpoint of these files, or one whose path is no pattern, of links to the files.

    A V1 checkpoint of several files has a prefix that is a pattern for them, and for nothing else.
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
        os.remove(link)  # a checkpoint of another time
    os.symlink(target, link)
