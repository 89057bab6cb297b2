"""Base directories wherever they are: in a local file system, or in an object store."""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ContextManager, FrozenSet, Iterable, Iterator, Optional, Tuple, Union

from ckpt2saved.console.say import Say, silent
from ckpt2saved.errors import StrayOptions
from ckpt2saved.files.reading import PathLike
from ckpt2saved.versions.base import (
    NumberedPlace,
    check_base,
    loaded_version,
    newest_child,
    next_version,
    numbered_children,
)
from ckpt2saved.versions.bump import BumpOptions, Published, SourceCheck, bump_version, unchecked
from ckpt2saved.versions.content import refuse_unchanged
from ckpt2saved.versions.deletion import prune_versions
from ckpt2saved.versions.found import find_complete_version, find_version
from ckpt2saved.versions.listing import Listing, list_base
from ckpt2saved.versions.object_stores.url import VersionPlace, VersionUrl, is_store_url, local_path
from ckpt2saved.versions.published_checkpoints import refuse_published
from ckpt2saved.versions.stage import AnyStage, staged


class Base(ABC):
    """The base directory of a model: what commands do there, wherever it is."""

    name: str  # the last part of its path, by default the name of the model on a server

    @abstractmethod
    def __str__(self) -> str: ...

    @abstractmethod
    def check(self, reading: bool = False) -> None:
        """Raise VersionError if no version can be published here; for `reading` it must exist."""

    @abstractmethod
    def next_number(self, requested: Optional[int] = None) -> int:
        """Return `requested` if it is above every number here; by default the highest number plus one."""

    @abstractmethod
    def newest_number(self) -> Optional[int]:
        """Return the highest number of a version; None if there are none."""

    @abstractmethod
    def at(self, number: int) -> VersionPlace:
        """Return where a version is published."""

    @abstractmethod
    def version(self, number: int) -> VersionPlace:
        """Return the version that TF Serving loads for a number; raises VersionError if there is none."""

    @abstractmethod
    def newest_complete(self) -> Optional[VersionPlace]:
        """Return the newest complete version; None if there are no versions.

        Raises VersionError if no version is complete.
        """

    @abstractmethod
    def staged(self, requested: Optional[int] = None, say: Say = silent) -> ContextManager[AnyStage]:
        """Yield a stage: a local directory `path`, which publish(check) makes the next version."""

    @abstractmethod
    def refuse_unchanged(self, content: str) -> None:
        """Raise Unchanged if the newest version has files of this content_sha256()."""

    @abstractmethod
    def refuse_published(self, content: FrozenSet[str], *, dry_run: bool = False) -> None:
        """Raise AlreadyPublished if a version has, or had, a checkpoint of this content.

        With `dry_run` nothing is written; otherwise it is a check of the stage that is published.
        """

    @abstractmethod
    def bump(
        self,
        source: Union[int, PathLike, None],
        options: BumpOptions,
        say: Say = silent,
        check: SourceCheck = unchecked,
    ) -> Published:
        """Publish an existing SavedModel as the next version, as bump_version() does."""

    @abstractmethod
    def listing(self, *, deep: bool = False) -> Listing:
        """Return the versions and the ignored names; with `deep`, checksums of all variables are compared."""

    @abstractmethod
    def prune(
        self, keep: int, *, spare: Iterable[int] = (), dry_run: bool = False, say: Say = silent
    ) -> Tuple[NumberedPlace, ...]:
        """Delete old versions, as prune_versions() does."""


class LocalBase(Base):
    """A base directory of this machine."""

    def __init__(self, path: PathLike) -> None:
        self.path = Path(path)
        self.name = Path(os.path.abspath(os.fspath(path))).name

    def __str__(self) -> str:
        return str(self.path)

    def check(self, reading: bool = False) -> None:
        check_base(self.path, reading)

    def next_number(self, requested: Optional[int] = None) -> int:
        return next_version(self.path, requested)

    def newest_number(self) -> Optional[int]:
        newest = newest_child(self.path)
        return None if newest is None else newest.number

    def at(self, number: int) -> Path:
        return self.path / str(number)

    def version(self, number: int) -> Path:
        return loaded_version(self.path, number)

    def newest_complete(self) -> Optional[Path]:
        if not any(child.number >= 0 for child in numbered_children(self.path)):
            return None
        return find_complete_version(self.path)

    def staged(self, requested: Optional[int] = None, say: Say = silent) -> ContextManager[AnyStage]:
        return staged(self.path, requested, say)

    def refuse_unchanged(self, content: str) -> None:
        refuse_unchanged(self.path, content)

    def refuse_published(self, content: FrozenSet[str], *, dry_run: bool = False) -> None:
        refuse_published(self.path, content, dry_run=dry_run)

    def bump(
        self,
        source: Union[int, PathLike, None],
        options: BumpOptions,
        say: Say = silent,
        check: SourceCheck = unchecked,
    ) -> Published:
        return bump_version(self.path, source, options, say, check)

    def listing(self, *, deep: bool = False) -> Listing:
        return list_base(self.path, deep=deep)

    def prune(
        self, keep: int, *, spare: Iterable[int] = (), dry_run: bool = False, say: Say = silent
    ) -> Tuple[NumberedPlace, ...]:
        return prune_versions(self.path, keep, spare=spare, dry_run=dry_run, say=say)


def base_at(place: PathLike, *, single_writer: bool = False) -> Base:
    """Return the base directory at a path, or at the URL of an object store.

    Raises VersionError for a URL that can be none, and StrayOptions for `single_writer` with a local directory.
    """
    if is_store_url(place):
        from ckpt2saved.versions.object_stores.stored_base import StoredBase

        return StoredBase(os.fspath(place), single_writer)
    if single_writer:
        raise StrayOptions(["single_writer"], "a base directory in an object store")
    return LocalBase(local_path(place))


@contextlib.contextmanager
def local_version(place: Union[PathLike, VersionUrl], say: Say = silent) -> Iterator[Path]:
    """Yield the directory of a version: find_version() of a path; of a URL a download, removed at the end.

    The directory has the names of version and base directory.
    """
    if isinstance(place, VersionUrl) or is_store_url(place):
        from ckpt2saved.versions.object_stores.downloads import downloaded

        with downloaded(place if isinstance(place, VersionUrl) else os.fspath(place), say) as directory:
            yield directory
    else:
        yield find_version(local_path(place))
