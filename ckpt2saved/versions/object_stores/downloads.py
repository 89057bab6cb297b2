"""Temporary copies of versions in object stores."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Iterator, Union

from ckpt2saved.console.say import Say, silent
from ckpt2saved.errors import VersionError
from ckpt2saved.files.reading import printable
from ckpt2saved.saved_model.reading import SAVED_MODEL_FILES
from ckpt2saved.versions.base import parse_version
from ckpt2saved.versions.object_stores.store import ObjectStore, open_store
from ckpt2saved.versions.object_stores.url import VersionUrl, checked_url
from ckpt2saved.versions.object_stores.versions_in_store import StoredVersion, download_version, stored_versions


@contextlib.contextmanager
def downloaded(place: Union[str, VersionUrl], say: Say = silent) -> Iterator[Path]:
    """Yield a directory with the files of a version: at its URL, or the newest complete one of a base directory's URL.

    It is called as the version, in a directory that is called as the base directory, and removed at the end.
    """
    url = version_url(place) if isinstance(place, str) else place
    store = open_store(url.base)
    with tempfile.TemporaryDirectory(prefix="ckpt2saved-") as temporary:
        directory = Path(temporary) / url.base.rpartition("/")[2] / url.name
        directory.mkdir(parents=True)
        download_version(store, version_called(store, url.name), directory, say)
        yield directory


def version_url(url: str) -> VersionUrl:
    """Return the version at a URL, as find_complete_version() does for a path."""
    parent, _, name = checked_url(url).rpartition("/")
    if name in SAVED_MODEL_FILES:
        parent, _, name = parent.rpartition("/")
    if parse_version(name) is not None and not parent.endswith("/"):
        return VersionUrl(parent, name)
    store = open_store(url)
    complete = [version for version in stored_versions(store) if version.is_complete and version.number >= 0]
    if not complete:
        raise VersionError(
            f"{store.url}: no complete version is below this URL; expected a version, or the base directory of a model"
        )
    return VersionUrl(store.url, complete[-1].name)


def version_called(store: ObjectStore, name: str) -> StoredVersion:
    """Return the version of this name; raises VersionError if there is none."""
    versions = stored_versions(store)
    for version in versions:
        if version.name == name:
            return version
    names = ", ".join(printable(version.name) for version in versions)
    expected = f"expected one of {names}" if names else "there are no versions below this URL"
    raise VersionError(f"{store.url}: there is no version {printable(name)}; {expected}")
