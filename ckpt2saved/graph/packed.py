"""Tables of several releases in compressed JSON: what releases have in common is written once."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any, Iterable, List, Sequence, Tuple


def read_packed(path: Path) -> Any:
    """The content of a compressed JSON file."""
    with gzip.open(str(path), "rb") as file:
        return json.loads(file.read().decode("utf-8"))


def write_packed(content: Any, path: Path) -> None:
    """Write compressed JSON; the same content gives the same bytes."""
    text = json.dumps(content, separators=(",", ":"))
    with path.open("wb") as raw:
        # Without name and time, so that the same content gives the same bytes.
        with gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=9, mtime=0) as file:
            file.write(text.encode("utf-8"))


def runs(column: Sequence[Any]) -> List[Tuple[int, int, Any]]:
    """First and last index of every stretch of one value, without those of None."""
    found: List[Tuple[int, int, Any]] = []
    for index, value in enumerate(column):
        if found and found[-1][1] == index - 1 and found[-1][2] == value:
            found[-1] = (found[-1][0], index, value)
        elif value is not None:
            found.append((index, index, value))
    return found


def index_in(values: List[Any], value: Any) -> int:
    """The index of a value in a list, to which it is added if it is missing."""
    if value not in values:
        values.append(value)
    return values.index(value)


def ordered(releases: Iterable[str]) -> List[str]:
    """Releases such as 2.10, the oldest first."""
    return sorted(releases, key=lambda release: [int(part) for part in release.split(".")])
