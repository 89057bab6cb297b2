"""Whether a numeric child of a base directory is complete: its files against those of known contents, byte by byte."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Dict, Iterable, List, Optional, Sequence, Tuple, Union

PathLike = Union[str, "os.PathLike[str]"]
PROVENANCE = "assets.extra/ckpt2saved.json"  # differs between versions of one content
Content = Dict[str, str]  # name of each file but the provenance -> "size SHA-256"


def content_of(directory: PathLike) -> Content:
    """Return the content of a directory; raises OSError."""
    found: Content = {}
    for parent, _, names in os.walk(os.fspath(directory), onerror=_raise):
        for name in names:
            path = os.path.join(parent, name)
            relative = os.path.relpath(path, os.fspath(directory))
            data = Path(path).read_bytes()
            if relative == PROVENANCE:
                json.loads(data.decode("utf-8"))
            else:
                found[relative] = f"{len(data)} {hashlib.sha256(data).hexdigest()}"
    return found


def problem_of(directory: PathLike, contents: Sequence[Content]) -> Optional[str]:
    """Return what is wrong with a version; None if it has one of the contents, or has vanished as a whole meanwhile.

    A version that is renamed away at the same time is no incomplete one: nobody sees it under its number.
    """
    path = os.fspath(directory)
    try:
        before = _identity(path)
    except FileNotFoundError:
        return None
    try:
        found: Optional[Content] = content_of(path)
        text = ""
    except (OSError, ValueError) as error:
        found, text = None, repr(error)
    try:
        if _identity(path) != before:
            return None
    except FileNotFoundError:
        return None
    if found is not None and found in contents:
        return None
    return f"{path}: {text or f'{found}, expected one of {list(contents)}'}"


def numbers_in(base: PathLike) -> List[int]:
    """Return the numbers of the children with canonical names, lowest first; empty if there is no base."""
    try:
        names = os.listdir(os.fspath(base))
    except FileNotFoundError:
        return []
    return sorted(int(name) for name in names if name.isdigit() and name == str(int(name)))


def problems_in(base: PathLike, contents: Sequence[Content]) -> List[str]:
    """Return the problems of all numeric children."""
    found = (problem_of(os.path.join(os.fspath(base), str(number)), contents) for number in numbers_in(base))
    return [problem for problem in found if problem]


def missing(numbers: Iterable[int], expected: Iterable[int]) -> List[int]:
    return sorted(set(expected) - set(numbers))


def _identity(path: str) -> Tuple[int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino


def _raise(error: OSError) -> None:
    raise error
