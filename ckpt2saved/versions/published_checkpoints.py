"""Which checkpoints were published in a base directory, by their content: also those of versions deleted since.

A version's provenance says of which checkpoint it is. `prune_versions` keeps that of the versions that it deletes in
the file `.ckpt2saved-pruned.json` of the base, whose name TF Serving ignores.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, FrozenSet, List, Optional, Tuple

from ckpt2saved.errors import AlreadyPublished
from ckpt2saved.files.json_text import read_json
from ckpt2saved.files.reading import PathLike, read_file
from ckpt2saved.files.replacing import replace_file
from ckpt2saved.versions.base import numbered_children, numbered_names
from ckpt2saved.versions.provenance import PROVENANCE, content_of, read_provenance
from ckpt2saved.versions.published_record import PublishedRecord

PRUNED_RECORD = ".ckpt2saved-pruned.json"

_MOST_BYTES = 1 << 22
_MOST_RECORDED = 1000  # deleted versions, those with the highest numbers
_Status = Tuple[int, int, int]
_Entry = Dict[str, Any]


@dataclass(frozen=True)
class PublishedCheckpoint:
    """A version that has, or had, a checkpoint."""

    text: str  # for people
    step: Optional[int]


class PublishedCheckpoints:
    """The contents of the checkpoints that were published in a base; each provenance is read once."""

    def __init__(self, base: PathLike) -> None:
        self._base = Path(base)
        self._read: Dict[Path, Tuple[_Status, _Entry]] = {}

    def versions(self) -> Dict[FrozenSet[str], PublishedCheckpoint]:
        """SHA-256 of the files that identify a checkpoint -> the version with it."""
        found: Dict[FrozenSet[str], PublishedCheckpoint] = {}
        for entry in _entries(self._base):
            found[content_of(entry)] = PublishedCheckpoint(
                f"version {entry.get('version')}, which was pruned", _step(entry)
            )
        read: Dict[Path, Tuple[_Status, _Entry]] = {}
        for child in numbered_children(self._base):
            with contextlib.suppress(OSError):  # deleted, or not published by ckpt2saved
                status = os.stat(os.fspath(child.path / PROVENANCE))
                key = status.st_ino, status.st_mtime_ns, status.st_size
                known = self._read.get(child.path)
                entry = (
                    known[1] if known and known[0] == key else recorded_entry(child.number, read_provenance(child.path))
                )
                read[child.path] = key, entry
                found[content_of(entry)] = PublishedCheckpoint(f"version {child.path.name}", _step(entry))
        self._read = read
        found.pop(frozenset(), None)
        return found


def refuse_published(base: PathLike, content: FrozenSet[str], *, dry_run: bool = False) -> None:
    """Raise AlreadyPublished if a version of the base has, or had, a checkpoint of this content.

    The caller holds the lock of the base, or with `dry_run` nothing is written.
    """
    found = _version_with(Path(base), content, dry_run) if content else None
    if found:
        raise AlreadyPublished(f"{base}: {found}, has this checkpoint already; nothing is published")


def _version_with(base: Path, content: FrozenSet[str], dry_run: bool) -> Optional[str]:
    """The newest version with a checkpoint of this content, for people."""
    names = [name for _, name in sorted(numbered_names(base))]
    record = PublishedRecord(base)
    for name in reversed(names):
        with contextlib.suppress(OSError):  # deleted
            # Read in any case: to publish changed files again, people delete the provenance alone.
            if record.may_have(name, content) and content_of(read_provenance(base / name)) == content:
                return f"version {name}"
    if not dry_run:
        record.save(names)
    pruned = [entry for entry in _entries(base) if content_of(entry) == content]
    return f"version {pruned[-1].get('version')}, which was pruned" if pruned else None


def record_pruned(base: PathLike, number: int, provenance: Optional[Dict[str, Any]]) -> None:
    """Record the checkpoint of a version that is to be deleted; the caller holds the lock of the base."""
    entry = recorded_entry(number, provenance)
    if not content_of(entry):
        return
    entries = [one for one in _entries(Path(base)) if one.get("version") != number]
    entries = sorted([*entries, entry], key=_number)[-_MOST_RECORDED:]
    text = json.dumps({"format": 1, "versions": entries}, indent=1, ensure_ascii=False) + "\n"
    with contextlib.suppress(OSError):  # a full disk must not prevent the deletion
        replace_file(Path(base) / PRUNED_RECORD, text.encode("utf-8", "backslashreplace"))


def recorded_entry(number: int, provenance: Optional[Dict[str, Any]]) -> _Entry:
    """Return what is kept of a deleted version's provenance."""
    checkpoint = (provenance or {}).get("checkpoint")
    fields = checkpoint if isinstance(checkpoint, dict) else {}
    return {"version": number, "checkpoint": {key: fields.get(key) for key in ("name", "step", "sha256")}}


def _number(entry: _Entry) -> int:
    number = entry.get("version")
    return number if isinstance(number, int) else 0


def _step(entry: _Entry) -> Optional[int]:
    checkpoint = entry.get("checkpoint")
    step = checkpoint.get("step") if isinstance(checkpoint, dict) else None
    return step if isinstance(step, int) else None


def _entries(base: Path) -> List[_Entry]:
    try:
        content = read_json(read_file(base / PRUNED_RECORD, _MOST_BYTES).decode("utf-8"))
    except (OSError, ValueError):
        return []
    entries = content.get("versions") if isinstance(content, dict) else None
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
