"""The complete checkpoints of a directory that a training writes into, without TensorFlow."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, FrozenSet, Mapping, Optional, Tuple

from ckpt2saved.checkpoint.files import CheckpointFiles, find_checkpoint, prefixes_in, recorded_names
from ckpt2saved.checkpoint.index import index_of, is_cut_off
from ckpt2saved.errors import CheckpointError

_NUMBERS = re.compile(r"([0-9]+)")
_STEP = re.compile(r"-([0-9]+)\Z")

# Name, size, time of change and inode of each file: another tuple if one was written again.
Fingerprint = Tuple[Tuple[str, int, int, int], ...]


@dataclass(frozen=True)
class RunCheckpoint:
    """A complete checkpoint as it was when the directory was read; the training may delete or replace it."""

    files: CheckpointFiles
    content: FrozenSet[str]  # SHA-256 of the files that identify it
    fingerprint: Fingerprint

    @property
    def prefix(self) -> Path:
        return self.files.prefix

    @property
    def step_in_name(self) -> Optional[int]:
        """The step at the end of the name, as in model.ckpt-1000."""
        match = _STEP.search(self.files.name)
        return int(match.group(1)) if match else None

    @property
    def written(self) -> int:
        """When its values were written, in nanoseconds."""
        return self.fingerprint[0][2]

    @property
    def age(self) -> float:
        """Seconds since the last change of a file; negative if the clock of a file server is ahead."""
        return time.time() - max(changed for _, _, changed, _ in self.fingerprint) / 1e9

    @property
    def is_unchanged(self) -> bool:
        """Whether its files are still there as they were."""
        try:
            return _fingerprint(find_checkpoint(self.prefix)) == self.fingerprint
        except (CheckpointError, OSError):
            return False


@dataclass(frozen=True)
class Scan:
    """What a directory contains at one moment."""

    checkpoints: Tuple[RunCheckpoint, ...]  # complete ones, the newest last
    incomplete: Mapping[Path, str]  # prefix -> why the checkpoint can't be read (yet)


class RunDirectory:
    """Reads a directory again and again; the content of files that have not changed is read once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: Dict[Path, RunCheckpoint] = {}

    def scan(self) -> Scan:
        """The checkpoints that are there now; none if there is no directory."""
        found: Dict[Path, RunCheckpoint] = {}
        incomplete: Dict[Path, str] = {}
        latest = self._latest()
        for prefix in dict.fromkeys([*self._prefixes(), *([latest] if latest else [])]):
            try:
                found[prefix] = self._read(prefix)
            except CheckpointError as error:
                incomplete[prefix] = str(error)
            except OSError as error:  # deleted, or replaced, while it is read
                incomplete[prefix] = error.strerror or str(error)
        self._known = found
        return Scan(_in_order(tuple(found.values()), recorded_names(self.path), latest), incomplete)

    def _prefixes(self) -> Tuple[Path, ...]:
        try:
            return tuple(prefixes_in(self.path))
        except OSError:
            return ()

    def _latest(self) -> Optional[Path]:
        """The prefix of the checkpoint that `export` takes, if the state file or the only checkpoint says which."""
        try:
            return find_checkpoint(self.path).prefix
        except (CheckpointError, OSError):
            return None

    def _read(self, prefix: Path) -> RunCheckpoint:
        files = find_checkpoint(prefix)
        fingerprint = _fingerprint(files)
        known = self._known.get(prefix)
        if known is not None and known.fingerprint == fingerprint:
            return known
        if is_cut_off(files, index_of(files).entries.values()):
            raise CheckpointError(f"{prefix}: a data file ends before the end of a tensor")
        content = frozenset(files.sha256().values())
        if _fingerprint(files) != fingerprint:
            raise CheckpointError(f"{prefix}: its files change")
        return RunCheckpoint(files, content, fingerprint)


def _fingerprint(files: CheckpointFiles) -> Fingerprint:
    found = []
    for path in (*files.files, *([files.meta] if files.meta else [])):
        status = path.stat()
        found.append((path.name, status.st_size, status.st_mtime_ns, status.st_ino))
    return tuple(found)


def _in_order(
    found: Tuple[RunCheckpoint, ...], recorded: Tuple[str, ...], latest: Optional[Path]
) -> Tuple[RunCheckpoint, ...]:
    """The oldest first: as the state file lists them, the others by the time of their files.

    Those that the state file no longer lists are older than its latest, unless their files are newer. Numbers of steps
    do not count: a training that starts anew begins with small ones.
    """
    places = {name: place for place, name in enumerate(recorded)}
    newest_recorded = max((one.written for one in found if one.prefix == latest), default=None)

    def key(one: RunCheckpoint) -> Tuple[int, int, int, Tuple[Tuple[int, str], ...]]:
        place = places.get(one.files.name)
        if place is not None:
            return 1, place, 0, ()
        is_newer = newest_recorded is not None and bool(recorded) and one.written > newest_recorded
        return 2 if is_newer else 0, 0, one.written, _natural(one.files.name)

    return tuple(sorted(found, key=key))


def _natural(name: str) -> Tuple[Tuple[int, str], ...]:
    """A key that sorts model-9 before model-10."""
    parts = _NUMBERS.split(name)
    return tuple((int(part) if number % 2 else 0, part) for number, part in enumerate(parts))
