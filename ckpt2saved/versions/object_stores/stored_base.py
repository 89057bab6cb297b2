"""A base directory in an object store."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import ContextManager, FrozenSet, Iterable, Iterator, Optional, Tuple, Union

from ckpt2saved.console.say import Say, begin, silent
from ckpt2saved.errors import AlreadyPublished, VersionError
from ckpt2saved.files.reading import PathLike
from ckpt2saved.saved_model.judgement import EVERYTHING, READ
from ckpt2saved.versions.base import NumberedPlace, parse_version
from ckpt2saved.versions.bases import Base
from ckpt2saved.versions.bump import BumpOptions, Published, SourceCheck, fill_with_copy, unchecked
from ckpt2saved.versions.content import Unchanged
from ckpt2saved.versions.health import content_problems
from ckpt2saved.versions.listing import Listing
from ckpt2saved.versions.object_stores.claims import next_number
from ckpt2saved.versions.object_stores.downloads import downloaded, version_called, version_url
from ckpt2saved.versions.object_stores.store import ObjectStore, open_store
from ckpt2saved.versions.object_stores.stored_listing import (
    list_stored,
    provenance_in,
    prune_stored,
    published_with,
)
from ckpt2saved.versions.object_stores.stored_stage import staged_for_store
from ckpt2saved.versions.object_stores.url import VersionPlace, VersionUrl, is_store_url, local_path
from ckpt2saved.versions.object_stores.versions_in_store import StoredVersion, stored_versions
from ckpt2saved.versions.stage import AnyStage


class StoredBase(Base):
    """The base directory at a URL of an object store."""

    def __init__(self, url: str, is_single_writer: bool = False) -> None:
        self._store = open_store(url)
        self._is_single_writer = is_single_writer
        self.name = self._store.url.rpartition("/")[2]

    def __str__(self) -> str:
        return self._store.url

    def check(self, reading: bool = False) -> None:
        if parse_version(self.name) is not None:
            parent = self._store.url.rpartition("/")[0]
            raise VersionError(
                f"{self}: its name is a version number; expected the base directory of a model, {parent}"
            )

    def next_number(self, requested: Optional[int] = None) -> int:
        return next_number(self._store, self._store.objects(), requested)

    def newest_number(self) -> Optional[int]:
        versions = stored_versions(self._store)
        return versions[-1].number if versions else None

    def at(self, number: int) -> VersionUrl:
        return VersionUrl(self._store.url, str(number))

    def version(self, number: int) -> VersionUrl:
        versions = stored_versions(self._store)
        found = [version.name for version in versions if version.number == number]
        return VersionUrl(self._store.url, found[-1] if found else version_called(self._store, str(number)).name)

    def newest_complete(self) -> Optional[VersionUrl]:
        versions = [version for version in stored_versions(self._store) if version.number >= 0]
        complete = [version for version in versions if version.is_complete]
        if versions and not complete:
            raise VersionError(f"{self}: no version is complete")
        return VersionUrl(self._store.url, complete[-1].name) if complete else None

    def staged(self, requested: Optional[int] = None, say: Say = silent) -> ContextManager[AnyStage]:
        return staged_for_store(self._store, requested, self._is_single_writer, say)

    def refuse_unchanged(self, content: str) -> None:
        newest = _newest(self._store)
        if newest is None or newest.number < 0 or not newest.is_complete:
            return
        provenance = provenance_in(self._store, newest) or {}
        if provenance.get("content_sha256") == content:
            url = VersionUrl(self._store.url, newest.name)
            with downloaded(url):  # compares the files with the record
                raise Unchanged(url, provenance)

    def refuse_published(self, content: FrozenSet[str], *, dry_run: bool = False) -> None:
        found = published_with(self._store, content) if content else None
        if found:
            raise AlreadyPublished(f"{self}: {found}, has this checkpoint already; nothing is published")

    def bump(
        self,
        source: Union[int, PathLike, None],
        options: BumpOptions,
        say: Say = silent,
        check: SourceCheck = unchecked,
    ) -> Published:
        self.check()
        with self._source(source, say) as (place, origin, directory):
            begin(say, f"checking {place}")
            problems = content_problems(directory, EVERYTHING if options.deep else READ)
            if problems:
                raise VersionError(f"{place}: not republished, since TF Serving could not load it", problems)
            if options.dry_run:
                check(directory, place)
                number = self.next_number(options.requested)
                return Published(number, self.at(number), place, origin, dry_run=True)
            with self.staged(options.requested, say) as stage:
                provenance = fill_with_copy(stage.path, directory, origin, options)
                check(directory, place)
                path = stage.publish()
        return Published(int(path.name), path, place, origin, provenance=provenance)

    def listing(self, *, deep: bool = False) -> Listing:
        return list_stored(self._store, deep=deep)

    def prune(
        self, keep: int, *, spare: Iterable[int] = (), dry_run: bool = False, say: Say = silent
    ) -> Tuple[NumberedPlace, ...]:
        self.check()
        return prune_stored(self._store, keep, frozenset(spare), dry_run=dry_run)

    @contextlib.contextmanager
    def _source(
        self, source: Union[int, PathLike, None], say: Say
    ) -> Iterator[Tuple[VersionPlace, Union[int, str], Path]]:
        """Yield where the source is, the number or place that is recorded of it, and a directory with its files."""
        if source is None:
            newest = _newest(self._store)
            if newest is None:
                raise VersionError(f"{self}: there is no version to republish; name a SavedModel directory")
            source = newest.number
        number = parse_version(source) if isinstance(source, str) else source if isinstance(source, int) else None
        if number is None and not is_store_url(source):
            directory = local_path(os.fspath(source))  # type: ignore[arg-type]  # no number
            yield directory, os.path.abspath(os.fspath(directory)), directory
            return
        url = version_url(os.fspath(source)) if number is None else self.version(number)  # type: ignore[arg-type]
        is_own = url.base == self._store.url
        with downloaded(url, say) as directory:
            yield url, (parse_version(url.name) or 0) if is_own else str(url), directory


def _newest(store: ObjectStore) -> Optional[StoredVersion]:
    versions = stored_versions(store)
    return versions[-1] if versions else None
