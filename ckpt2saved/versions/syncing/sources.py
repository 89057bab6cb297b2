"""Where `sync` takes versions from: an object store, or a base directory, as on a mounted file system."""

from __future__ import annotations

import os
import stat
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Hashable, Tuple

from ckpt2saved.console.say import Say
from ckpt2saved.errors import UsageError
from ckpt2saved.files.reading import Entry, walk
from ckpt2saved.files.write_errors import FULL
from ckpt2saved.saved_model.reading import SAVED_MODEL_FILES
from ckpt2saved.versions.base import check_base, explained, numbered_children, os_errors_explained
from ckpt2saved.versions.content import check_copy
from ckpt2saved.versions.copying import copy_version
from ckpt2saved.versions.object_stores.store import ObjectStore, open_store
from ckpt2saved.versions.object_stores.url import VersionUrl, is_store_url, local_path
from ckpt2saved.versions.object_stores.versions_in_store import StoredVersion, download_version, stored_versions

_ALTERED = "it is tried again; if this persists, publish the version anew with ckpt2saved bump-version"


class SourceVersion(ABC):
    """A version of a source; what is asked of it is as it was when the source was listed."""

    def __init__(self, number: int, url: str) -> None:
        self.number = number
        self.url = url

    @property
    @abstractmethod
    def missing(self) -> Tuple[str, ...]:
        """The files that it lacks, of those that the source can tell; saved_model.pb, which is written last, is one."""

    @property
    @abstractmethod
    def identity(self) -> Hashable:
        """What differs after a change of its files."""

    @abstractmethod
    def download(self, directory: Path, say: Say) -> None:
        """Fill an empty directory; raises VersionError, with problems if the files are not those of the version."""


class Source(ABC):
    """The versions of one model."""

    url: str

    @abstractmethod
    def versions(self) -> Tuple[SourceVersion, ...]:
        """Return the versions, oldest first; raises VersionError."""


class LocalSource(Source):
    """A base directory of this machine, such as one of a mounted file system."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.url = str(base)

    def versions(self) -> Tuple[SourceVersion, ...]:
        check_base(self.base, reading=True)
        # Of `1` and `01`, the last one is the one that TF Serving loads.
        loaded = {child.number: child.path for child in numbered_children(self.base) if child.number >= 0}
        return tuple(_LocalVersion(number, path) for number, path in loaded.items())


def _is_file(path: Path) -> bool:
    """Return whether there is such a file; raises OSError if the disk does not say, unlike os.path.isfile."""
    try:
        return stat.S_ISREG(os.stat(os.fspath(path)).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


class _LocalVersion(SourceVersion):
    def __init__(self, number: int, path: Path) -> None:
        super().__init__(number, str(path))
        self._path = path

    @property
    def missing(self) -> Tuple[str, ...]:
        with os_errors_explained(self._path, "look for the graph"):
            has_graph = any(_is_file(self._path / name) for name in SAVED_MODEL_FILES)
        return () if has_graph else SAVED_MODEL_FILES[:1]

    @property
    def identity(self) -> Hashable:
        with os_errors_explained(self._path, "list the files"):
            return tuple(_file(entry) for entry in walk(self._path) if stat.S_ISREG(entry.status.st_mode))

    def download(self, directory: Path, say: Say) -> None:
        try:
            copy_version(self._path, directory, link=False)
        except OSError as error:
            if error.errno in FULL:
                raise  # of the local disk, which the stage explains
            raise explained(error, self._path, "copy the version") from error
        check_copy(directory, self._path, "not published", _ALTERED)


def _file(entry: Entry) -> Tuple[str, int, int]:
    return entry.name, entry.status.st_size, entry.status.st_mtime_ns


class StoreSource(Source):
    """A base URL in an object store."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.url = store.url

    def versions(self) -> Tuple[SourceVersion, ...]:
        loaded = {version.number: version for version in stored_versions(self._store) if version.number >= 0}
        return tuple(_VersionInStore(self._store, version) for version in loaded.values())


class _VersionInStore(SourceVersion):
    def __init__(self, store: ObjectStore, version: StoredVersion) -> None:
        super().__init__(version.number, str(VersionUrl(store.url, version.name)))
        self._store = store
        self._version = version

    @property
    def missing(self) -> Tuple[str, ...]:
        return self._version.missing

    @property
    def identity(self) -> Hashable:
        return self._version.objects

    def download(self, directory: Path, say: Say) -> None:
        download_version(self._store, self._version, directory, say)


def source_at(text: str) -> Source:
    """Return the source at a path or URL; raises UsageError and VersionError."""
    if is_store_url(text):
        return StoreSource(open_store(text))
    if not text:
        raise UsageError("URL: an empty path; expected a base directory, or a URL such as s3://BUCKET/models/crnn")
    return LocalSource(local_path(os.path.expanduser(text)))
