"""The versions of a model with origin, size and health."""

from __future__ import annotations

import contextlib
import datetime
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Collection, Dict, Optional, Sequence, Tuple, Union

from ckpt2saved.errors.problem import Problem, details, texts
from ckpt2saved.files.reading import PathLike, printable
from ckpt2saved.saved_model.judgement import EVERYTHING, SAMPLED
from ckpt2saved.saved_model.reading import SAVED_MODEL_FILES
from ckpt2saved.versions.base import (
    LARGEST_VERSION,
    Numbered,
    check_base,
    numbered_children,
    os_errors_explained,
    parse_version,
)
from ckpt2saved.versions.health import health
from ckpt2saved.versions.object_stores.url import VersionPlace
from ckpt2saved.versions.provenance import read_provenance

# Names that people give to versions: v1, 1.0, 2024-05-06, 1_rc2.
_LIKE_A_VERSION = re.compile(r"[vV]?[0-9]")
NEGATIVE = "the number is negative, which TF Serving does not load"


@dataclass(frozen=True)
class Origin:
    """The recorded origin of a version; None for unrecorded fields."""

    checkpoint: Optional[str] = None
    step: Optional[int] = None
    republished_from: Union[int, str, None] = None


@dataclass(frozen=True)
class Version:
    """A child of a base directory that TF Serving reads as a version."""

    number: int
    path: VersionPlace
    size: int  # bytes; files shared with another version count in both
    modified: datetime.datetime  # UTC
    origin: Optional[Origin]  # None if ckpt2saved did not publish it
    problems: Tuple[Problem, ...]
    duplicate_of: Optional[str] = None  # the name that TF Serving loads for this number instead (its default policy)

    @property
    def name(self) -> str:
        """Return the directory's name, which may differ from the number: `007`."""
        return self.path.name

    @property
    def is_complete(self) -> bool:
        """Return whether TF Serving could load the version."""
        return not self.problems

    def as_content(self) -> Dict[str, Any]:
        """Return the fields for JSON."""
        origin = self.origin
        return {
            "version": self.number,
            "path": str(self.path),
            "bytes": self.size,
            "modified": self.modified.isoformat(timespec="seconds"),
            "checkpoint": origin and origin.checkpoint,
            "step": origin and origin.step,
            "republished_from": origin and origin.republished_from,
            "problems": texts(self.problems),
            "problem_details": details(self.problems),
            "duplicate_of": self.duplicate_of,
        }


@dataclass(frozen=True)
class LocalVersion(Version):
    """A version in a local directory."""

    path: Path


@dataclass(frozen=True)
class Ignored:
    """A child of the base directory that looks like a version, but whose name TF Serving ignores."""

    path: VersionPlace
    reason: str


@dataclass(frozen=True)
class Listing(Sequence[Version]):
    """The versions of a base directory, newest first, and the names in it that TF Serving ignores."""

    versions: Tuple[Version, ...]
    ignored: Tuple[Ignored, ...] = ()

    def __len__(self) -> int:
        return len(self.versions)

    def __getitem__(self, index: Any) -> Any:
        return self.versions[index]

    def as_content(self) -> Dict[str, Any]:
        """Return the content of --json."""
        return {
            "versions": [version.as_content() for version in self.versions],
            "ignored": [{"path": str(one.path), "reason": one.reason} for one in self.ignored],
        }


def list_base(base: PathLike, *, deep: bool = False) -> Listing:
    """Return the versions of `base` and the ignored names; with `deep`, checksums of all variables are compared."""
    return Listing(list_versions(base, EVERYTHING if deep else SAMPLED), ignored_names(base))


def list_versions(
    base: PathLike, data: int = SAMPLED, numbers: Optional[Collection[int]] = None
) -> Tuple[LocalVersion, ...]:
    """Return the versions of `base`, or those with these numbers, newest first, with broken ones.

    `data` is as in judge().
    """
    check_base(base, reading=True)
    children = numbered_children(base)
    loaded = {child.number: child.path.name for child in children}  # the last child of a number wins, as in TF Serving
    versions = []
    with os_errors_explained(base, "read the versions"):
        for child in reversed(children):
            if numbers is not None and child.number not in numbers:
                continue
            with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                versions.append(_describe(child, loaded[child.number], data))
    return tuple(versions)


def ignored_names(base: PathLike) -> Tuple[Ignored, ...]:
    """Return the directories in `base` that TF Serving ignores, but that look like a version.

    They contain a SavedModel, or have the number of a version in their name.
    """
    found = []
    with os_errors_explained(base, "list the versions"), os.scandir(os.fspath(base)) as entries:
        for entry in sorted(entries, key=lambda one: one.name):
            if entry.name.startswith(".") or parse_version(entry.name) is not None or not entry.is_dir():
                continue
            holds = any(os.path.lexists(os.path.join(entry.path, name)) for name in SAVED_MODEL_FILES)
            reason = ignored_reason(entry.name, holds)
            if reason is not None:
                found.append(Ignored(Path(entry.path), reason))
    return tuple(found)


def ignored_reason(name: str, holds_saved_model: bool) -> Optional[str]:
    """Return why TF Serving ignores a name that is no version; None if it does not look like one either."""
    if not holds_saved_model and not _LIKE_A_VERSION.match(name):
        return None
    return f"larger than {LARGEST_VERSION}" if name.strip().lstrip("+-").isdigit() else "not an integer"


def _describe(child: Numbered, loaded_name: str, data: int) -> LocalVersion:
    found = health(child.path, data)
    problems = found.problems
    if child.number < 0:
        problems = (Problem("negative-number", "", NEGATIVE), *problems)
    status = os.stat(os.fspath(child.path)) if child.path.exists() else os.lstat(os.fspath(child.path))
    return LocalVersion(
        number=child.number,
        path=child.path,
        size=found.size,
        modified=datetime.datetime.fromtimestamp(status.st_mtime, datetime.timezone.utc),
        origin=origin_of(read_provenance(child.path)),
        problems=problems,
        duplicate_of=None if child.path.name == loaded_name else loaded_name,
    )


def origin_of(provenance: Optional[Dict[str, Any]]) -> Optional[Origin]:
    """Return the origin that a provenance records; None without any."""
    if provenance is None:
        return None
    checkpoint, republished = _section(provenance, "checkpoint"), _section(provenance, "republished")
    name, step, source = checkpoint.get("name"), checkpoint.get("step"), republished.get("from")
    return Origin(
        checkpoint=printable(name) if isinstance(name, str) else None,
        step=step if isinstance(step, int) else None,
        republished_from=printable(source) if isinstance(source, str) else source if isinstance(source, int) else None,
    )


def _section(provenance: Dict[str, Any], key: str) -> Dict[str, Any]:
    section = provenance.get(key)
    return section if isinstance(section, dict) else {}
