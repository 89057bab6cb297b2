"""The versions below a base URL, as the listing of the store shows them, and their download."""

from __future__ import annotations

import errno
import itertools
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Dict, List, Sequence, Tuple

from ckpt2saved.console.say import Say, begin, silent
from ckpt2saved.console.sizes import size_text
from ckpt2saved.errors import VersionError
from ckpt2saved.errors.problem import Problem
from ckpt2saved.files.reading import MOST_ENTRIES, MOST_LEVELS, printable
from ckpt2saved.saved_model.reading import SAVED_MODEL_FILES, SAVED_MODEL_NAMES
from ckpt2saved.versions.base import os_errors_explained, parse_version
from ckpt2saved.versions.content import is_altered
from ckpt2saved.versions.object_stores.store import ObjectStore, StoredObject
from ckpt2saved.versions.object_stores.url import VersionUrl

_SHARD = re.compile(r"variables/variables\.data-[0-9]{5}-of-([0-9]{5})\Z")
_INDEX = "variables/variables.index"
_MOST_MISSING = 100  # names of missing files


@dataclass(frozen=True)
class StoredVersion:
    """A name of the first level that TF Serving reads as a version, and the objects below it."""

    number: int
    name: str  # may differ from the number: `007`
    objects: Tuple[StoredObject, ...]

    @property
    def is_complete(self) -> bool:
        """Return whether the listing has all files that a SavedModel needs; their content is not read.

        saved_model.pb comes last and goes first, so that a version without it is being written, or is being deleted.
        """
        return not self.missing

    @property
    def has_graph(self) -> bool:
        """Return whether the listing has saved_model.pb, whatever its size."""
        return any(self.name_of(one) in SAVED_MODEL_FILES for one in self.objects)

    @property
    def is_saved_model(self) -> bool:
        """Return whether it is a SavedModel or the remains of one; `2019` may have photographs."""
        return any(self.name_of(one).partition("/")[0] in SAVED_MODEL_NAMES for one in self.objects)

    @property
    def missing(self) -> Tuple[str, ...]:
        """Return the names of the files that the SavedModel needs, and that the listing does not have, or has empty."""
        files = {self.name_of(one) for one in self.objects if one.size > 0}
        missing = [] if files & set(SAVED_MODEL_FILES) else [SAVED_MODEL_FILES[0]]
        shards = [(name, int(match.group(1))) for name in files for match in [_SHARD.match(name)] if match]
        present = {name for name, _ in shards}
        lacking: List[str] = []
        for count in sorted({count for _, count in shards}):
            names = (f"variables/variables.data-{number:05d}-of-{count:05d}" for number in range(count))
            # Names in a store may be anything: 100,000 of them could be one file each of billions.
            lacking += itertools.islice((name for name in names if name not in present), _MOST_MISSING - len(lacking))
            if len(lacking) == _MOST_MISSING:
                break
        if _INDEX in files and not shards:
            lacking.append("variables/variables.data-00000-of-00001")
        if shards and _INDEX not in files:
            lacking.append(_INDEX)
        return (*missing, *sorted(lacking))

    @property
    def size(self) -> int:
        """Return the bytes of all objects."""
        return sum(one.size for one in self.objects)

    def name_of(self, stored: StoredObject) -> str:
        """Return the path of an object in the version."""
        return stored.key[len(self.name) + 1 :]


def stored_versions(store: ObjectStore) -> Tuple[StoredVersion, ...]:
    """Return every version below the base URL, oldest first, also incomplete ones."""
    return versions_among(store.objects())


def versions_among(objects: Sequence[StoredObject]) -> Tuple[StoredVersion, ...]:
    """Return the versions of a listing of the base URL, oldest first."""
    by_name: Dict[str, List[StoredObject]] = {}
    for one in objects:
        name, _, rest = one.key.partition("/")
        if rest and parse_version(name) is not None:
            by_name.setdefault(name, []).append(one)
    found = [StoredVersion(parse_version(name) or 0, name, tuple(below)) for name, below in by_name.items()]
    return tuple(sorted(found, key=lambda one: (one.number, one.name)))


def download_version(store: ObjectStore, version: StoredVersion, directory: Path, say: Say = silent) -> None:
    """Download a version into an existing empty directory, saved_model.pb last, and compare it with its record.

    Raises VersionError for a version that is not complete, whose names lead out of the directory, or whose files are
    not those that ckpt2saved published.
    """
    shown = str(VersionUrl(store.url, version.name))
    check_names(store, version)
    if version.missing:
        raise VersionError(
            f"{shown}: incomplete, as {', '.join(version.missing)} is missing or empty; wait until the version is"
            " published, or name another one"
        )
    with os_errors_explained(directory, f"download {shown}"):
        _check_space(version, directory, shown)
        begin(say, f"downloading {shown}, {size_text(version.size)}")
        for one in sorted(version.objects, key=lambda one: version.name_of(one) in SAVED_MODEL_FILES):
            target = directory / version.name_of(one)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                store.download(one.key, target, one.size)
            except FileNotFoundError:
                raise VersionError(
                    f"{store.url}/{printable(one.key)}: deleted while the version was downloaded, as by a prune; run"
                    " again, or name another version"
                ) from None
            size = target.stat().st_size
            if size != one.size:
                found_size = f"{size} bytes" if size < one.size else "more bytes"
                raise VersionError(
                    f"{store.url}/{printable(one.key)}: {found_size}, and {one.size} when it was listed: replaced"
                    " while it was downloaded; run again"
                )
        if is_altered(directory):
            found = "its files are not those that were published: they were copied incompletely, or changed"
            remedy = "publish the version again"
            raise VersionError(
                f"{shown}: not usable", [Problem("altered-files", printable(version.name), found, remedy)]
            )


def check_names(store: ObjectStore, version: StoredVersion) -> None:
    """Raise VersionError if the objects of a version can't be the files of a directory."""
    shown = str(VersionUrl(store.url, version.name))
    if len(version.objects) > MOST_ENTRIES:
        raise VersionError(f"{shown}: more than {MOST_ENTRIES} objects; expected one SavedModel")
    names = {version.name_of(one) for one in version.objects}
    for name in names:
        parts = name.split("/")
        if (
            len(parts) > MOST_LEVELS  # first: a name may have any number of parts
            or any(part in ("", ".", "..") for part in parts)
            or not name.isprintable()
            or any(str(parent) in names for parent in PurePosixPath(name).parents)
        ):
            raise VersionError(
                f"{shown}: the object {printable(name)} can't be a file of a directory; delete it from the store"
            )


def _check_space(version: StoredVersion, directory: Path, shown: str) -> None:
    free = shutil.disk_usage(str(directory)).free
    if version.size > free:
        raise VersionError(
            f"{directory}: {size_text(free)} are free, and {shown} has {size_text(version.size)}; free some space"
            " there and run again"
        ) from OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
