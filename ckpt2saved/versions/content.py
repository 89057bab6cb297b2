"""The identity of a version's files, by which an equal version is recognised."""

from __future__ import annotations

import hashlib
import os
import stat
from typing import Any, Dict, Mapping, Optional

from ckpt2saved.errors import VersionError
from ckpt2saved.errors.problem import Problem
from ckpt2saved.files.reading import PathLike, sha256_of, walk
from ckpt2saved.versions.base import newest_child
from ckpt2saved.versions.object_stores.url import VersionPlace
from ckpt2saved.versions.provenance import PROVENANCE, read_provenance


class Unchanged(VersionError):
    """The newest version has the same files, and nothing was to be published then; `version` is its directory."""

    def __init__(self, version: VersionPlace, provenance: Mapping[str, Any]) -> None:
        super().__init__(f"{version}: it has the same files; nothing is published")
        self.version = version
        self.provenance = provenance


def content_sha256(version_dir: PathLike) -> str:
    """Return the SHA-256 of all files but the provenance, whatever the directory is called.

    It is that of a line `SHA-256 of the file, two spaces, name` for each file, sorted by the bytes of the names, as
    `sha256sum` prints them. Symbolic links count as the files that they lead to.
    """
    return content_of_files(file_hashes(version_dir))


def file_hashes(version_dir: PathLike) -> Dict[str, str]:
    """Return the SHA-256 of each file but the provenance, by the name that it has in the version."""
    return {
        entry.name.replace(os.sep, "/"): sha256_of(entry.path)
        for entry in walk(version_dir)
        if stat.S_ISREG(entry.status.st_mode) and entry.name != os.fspath(PROVENANCE)
    }


def content_of_files(hashes: Mapping[str, str]) -> str:
    """Return the content_sha256() of a version with these file_hashes()."""
    lines = sorted((os.fsencode(name), sha256.encode()) for name, sha256 in hashes.items())
    return hashlib.sha256(b"".join(b"%s  %s\n" % (sha256, name) for name, sha256 in lines)).hexdigest()


def recorded_content(version_dir: PathLike) -> Optional[str]:
    """Return the content_sha256() that a version had when it was published; None if it is not recorded."""
    recorded = (read_provenance(version_dir) or {}).get("content_sha256")
    return recorded if isinstance(recorded, str) else None


def is_altered(version_dir: PathLike) -> bool:
    """Return whether the files of a version are not those that were published, as far as that is recorded."""
    recorded = recorded_content(version_dir)
    return recorded is not None and content_sha256(version_dir) != recorded


def check_copy(copy: PathLike, source: PathLike, refused: str, remedy: str) -> Dict[str, str]:
    """Return the file_hashes() of a copied version; raises VersionError if its files are not the recorded ones."""
    hashes = file_hashes(copy)
    recorded = recorded_content(copy)
    if recorded is not None and recorded != content_of_files(hashes):
        found = "its files are not those that were published: they were copied incompletely, or changed"
        name = os.path.basename(os.fspath(source))
        raise VersionError(f"{source}: {refused}", [Problem("altered-files", name, found, remedy)])
    return hashes


def refuse_unchanged(base: PathLike, content: str) -> None:
    """Raise Unchanged if the newest version of the base has files of this content_sha256()."""
    child = newest_child(base)
    if child is None or child.number < 0:
        return
    newest = child.path
    provenance = read_provenance(newest) or {}
    recorded = provenance.get("content_sha256")
    if recorded == content and content_sha256(newest) == content:  # recorded first: reading all files takes time
        raise Unchanged(newest, provenance)
