"""A record of the checkpoints that many versions have, so that a publication need not read the provenance of each.

It is the file `.ckpt2saved-published.txt` of the base, whose name TF Serving ignores, and no more than a cache: a line
counts only while the version's provenance is the file that was read, by its inode, size and times. Any other is read.
Its first line is the SHA-256 of the others.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from pathlib import Path
from typing import Collection, Dict, FrozenSet

from ckpt2saved.files.reading import read_file
from ckpt2saved.files.replacing import replace_file
from ckpt2saved.versions.provenance import PROVENANCE, content_of, read_provenance

PUBLISHED_RECORD = ".ckpt2saved-published.txt"

_HEADING = (
    "# written by ckpt2saved: version; inode, size, mtime, ctime of its record; SHA-256 of its checkpoint's files\n"
)
_MOST_BYTES = 1 << 26
_MOST_UNRECORDED = 64  # versions that are read each time; to write the record for fewer would take as long
_NAME = re.compile(r"-?[0-9]+\Z")
_HASHES = re.compile(r"[0-9a-f]{64}(,[0-9a-f]{64})*\Z")


class PublishedRecord:
    """The record of a base, and the versions that it lacks."""

    def __init__(self, base: Path) -> None:
        self._base = base
        self._lines = _read(base / PUBLISHED_RECORD)  # name -> the rest of its line
        self._added: Dict[str, str] = {}

    def may_have(self, name: str, content: FrozenSet[str]) -> bool:
        """Return whether a version may have a checkpoint of this content; raises OSError if its provenance is gone."""
        status = os.stat(os.path.join(os.fspath(self._base), name, os.fspath(PROVENANCE)))
        identity = f"{status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} "
        line = self._lines.get(name, "")
        if not line.startswith(identity):
            hashes = _joined(content_of(read_provenance(self._base / name)))
            line = identity + hashes
            # Without hashes the version may be one that is being copied here, whose provenance is still to come.
            if _HASHES.match(hashes) and _NAME.match(name):
                self._added[name] = line
        return line[len(identity) :] == _joined(content)

    def save(self, names: Collection[str]) -> None:
        """Write the record anew if it lacks many of these names, or has many others.

        `names` are those of all versions of the base, whose lock the caller holds. Errors are ignored: the versions
        will be read again.
        """
        present = set(names)
        if len(self._added) + len(self._lines.keys() - present) < _MOST_UNRECORDED:
            return
        lines = {**self._lines, **self._added}
        text = _HEADING + "".join(f"{name} {lines[name]}\n" for name in names if name in lines)
        data = text.encode("ascii")
        with contextlib.suppress(OSError):
            replace_file(self._base / PUBLISHED_RECORD, _digest(data) + b"\n" + data)


def _joined(content: FrozenSet[str]) -> str:
    return ",".join(sorted(content))


def _read(path: Path) -> Dict[str, str]:
    """Return the lines by name; none of a damaged record, as a changed line could hide a published checkpoint."""
    try:
        digest, _, data = read_file(path, _MOST_BYTES).partition(b"\n")
    except OSError:
        return {}
    if digest != _digest(data):
        return {}
    parts = (line.partition(" ") for line in data.decode("ascii", "replace").split("\n"))
    return {name: rest for name, _, rest in parts if _NAME.match(name)}


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()
