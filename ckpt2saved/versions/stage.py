"""A staging directory in the base directory, ignored by TF Serving and published by one rename."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import tempfile
import time
import uuid
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Callable, Iterator, List, Optional, Tuple

from ckpt2saved.console.say import Say, silent
from ckpt2saved.errors import VersionError
from ckpt2saved.files.locks import ABANDONED_AFTER, try_lock
from ckpt2saved.files.reading import PathLike
from ckpt2saved.files.replacing import remove_unfinished
from ckpt2saved.files.write_errors import writing
from ckpt2saved.saved_model.judgement import SAMPLED
from ckpt2saved.versions.base import check_base, explained, next_version, os_errors_explained
from ckpt2saved.versions.health import content_problems
from ckpt2saved.versions.lock import locked, open_directory
from ckpt2saved.versions.object_stores.url import VersionPlace
from ckpt2saved.versions.published_checkpoints import PRUNED_RECORD
from ckpt2saved.versions.published_record import PUBLISHED_RECORD
from ckpt2saved.versions.rename import rename_new

STAGING = ".staging-"
PRUNED = ".pruned-"

_DIRECTORY_MODE = 0o755
_FILE_MODE = 0o644
_UNSYNCED = "write to disk that {} is published (a server sees it already; to run this again would publish it twice)"
_ATTEMPTS = 100  # failing exporters may remove the base concurrently
_FULL = (errno.ENOSPC, errno.EDQUOT)
# What no disk and no network file system reports of a file in a stage. ENOENT is of a stage that was deleted.
_BUGS = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY, errno.EINVAL, errno.EBADF)


@contextlib.contextmanager
def staged(base: PathLike, requested: Optional[int] = None, say: Say = silent) -> Iterator[Stage]:
    """Yield an empty Stage in `base` (created if absent); it is removed at the end unless published.

    First removes the stages of killed exporters in `base`. `say` is called during a long wait for the lock.
    """
    check_base(base)
    next_version(base, requested)  # publish() decides; a number that is taken already need not wait until then
    stage = Stage(base, requested, say)
    try:
        with os_errors_explained(base, "stage a version"):
            stage.open()
        yield stage
    except OSError as error:
        if not _concerns_stage(error, stage):
            raise  # an error of the caller's own files
        raise explained(error, base, "write the version, so that nothing was published") from error
    finally:
        stage.close()


class AnyStage(ABC):
    """A local directory `path` to be filled, which publish() makes the next version."""

    path: Path

    @abstractmethod
    def publish(self, check: Callable[[], None] = lambda: None) -> VersionPlace:
        """Publish the directory as a complete version, and return where that is."""


class Stage(AnyStage):
    """A directory `path` to be filled; publish() makes it the next version of `base`. Create it with staged()."""

    def __init__(self, base: PathLike, requested: Optional[int] = None, say: Say = silent) -> None:
        self.requested = requested
        self._say = say
        self.path = Path()
        self.published: Optional[Path] = None
        self._given_base = Path(base)
        # The caller may change the working directory before publish().
        self._base = Path(os.path.abspath(os.fspath(base)))
        self._created: List[Path] = []
        self._descriptor: Optional[int] = None

    def publish(self, check: Callable[[], None] = lambda: None) -> Path:
        """Publish the stage as a complete version, and return the version directory.

        By default a number that was taken meanwhile is skipped; a `requested` number that was taken raises
        VersionError. The stage's files must not be written any more. `check` is called under the lock of the base, so
        that no version can appear between it and this one; nothing is published if it raises an error.
        """
        with os_errors_explained(self._given_base, "publish the version"):
            _settle(self.path)
            problems = content_problems(self.path, SAMPLED)
            if problems:
                raise VersionError(
                    f"{self._given_base}: nothing was published, since TF Serving could not load the staged version",
                    problems,
                )
            with locked(self._base, self._say):
                check()
                published = self._rename()
        with os_errors_explained(self._given_base, _UNSYNCED.format(published)):
            for directory in [self._base] + [created.parent for created in self._created]:
                sync(directory)
        return published

    def open(self) -> None:
        """Create the directory, and hold its lock until close() or the process ends, so that no cleanup removes it."""
        for attempts_left in reversed(range(_ATTEMPTS)):
            try:
                self._create_base()
                with Leftovers(self._base) as leftovers, locked(self._base, self._say):
                    leftovers.claim()
                    self._create_locked()
            except FileNotFoundError:
                # An exporter that had created the base, and failed, has removed it before it could be locked here.
                if not attempts_left:
                    raise
            else:
                return

    def close(self) -> None:
        """Remove an unpublished stage, and the directories that were created for it."""
        # An error here would replace the error that is being handled; the next run cleans up.
        with contextlib.suppress(OSError):
            if self.published is None and self.path.name.startswith(STAGING):
                discard(self.path)
        with contextlib.suppress(OSError):
            if self.published is None and self._created:
                self._remove_created()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _create_locked(self) -> None:
        # The lock of the base is held: no process may look for abandoned stages before the lock of this one is held.
        self.path = Path(tempfile.mkdtemp(prefix=STAGING, dir=os.fspath(self._base)))
        os.chmod(os.fspath(self.path), _DIRECTORY_MODE)
        self._descriptor = open_directory(self.path)
        try_lock(self._descriptor)

    def _rename(self) -> Path:
        base = self._base_as_given()
        number = 0
        while True:
            number = max(next_version(base, self.requested), number)
            try:
                rename_new(self.path, self._base / str(number))
            except FileExistsError:
                # Just created by a process that does not use the lock.
                if self.requested is not None:
                    raise VersionError(
                        f"{base}: another process has just published version {self.requested}, and a version is never"
                        " replaced; ask for a higher number, or for none"
                    ) from None
                number += 1
            else:
                self.published = base / str(number)
                return self.published

    def _base_as_given(self) -> Path:
        """Return the base as the caller wrote it; the resolved path if it leads elsewhere by now."""
        return self._given_base if os.path.abspath(os.fspath(self._given_base)) == str(self._base) else self._base

    def _create_base(self) -> None:
        missing = [self._base, *self._base.parents]
        while missing and os.path.isdir(os.fspath(missing[-1])):
            missing.pop()
        for directory in reversed(missing):
            with contextlib.suppress(FileExistsError):
                os.mkdir(os.fspath(directory))
                self._created.append(directory)
                # The server, which often runs as another user, needs access whatever the umask is; a setgid bit stays.
                mode = stat.S_IMODE(os.stat(os.fspath(directory)).st_mode)
                os.chmod(os.fspath(directory), mode | _DIRECTORY_MODE)

    def _remove_created(self) -> None:
        # Under the lock: a waiting exporter sees that the base is gone, and creates it again.
        with locked(self._base, self._say) if self._base.is_dir() else contextlib.nullcontext():
            for directory in reversed(self._created):
                os.rmdir(os.fspath(directory))


class Leftovers:
    """Stages, half-deleted versions and half-written records of dead processes.

    Claimed under the base's lock, deleted without it.

    A context manager; enter it before taking the lock, so that no process waits for the deletion.
    """

    def __init__(self, base: PathLike) -> None:
        self._base = base
        self._claimed: List[Tuple[Path, int]] = []

    def __enter__(self) -> Leftovers:
        return self

    def __exit__(self, *error: object) -> None:
        is_hidden = self._claimed and _is_synced(self._base)
        for path, descriptor in self._claimed:
            try:
                if is_hidden:
                    with contextlib.suppress(OSError, VersionError):  # another user's stage must not prevent publishing
                        remove_tree(path)
            finally:
                os.close(descriptor)

    def claim(self) -> None:
        """Claim the leftovers; the caller holds the lock of the base."""
        found = []
        with os.scandir(os.fspath(self._base)) as entries:
            for entry in entries:
                if entry.name.startswith((STAGING, PRUNED)) and entry.is_dir(follow_symlinks=False):
                    found.append(Path(entry.path))
        for path in found:
            with contextlib.suppress(OSError):  # another user's, or already deleted
                self._claim(path)
        with contextlib.suppress(OSError):
            remove_unfinished(Path(self._base), PRUNED_RECORD, PUBLISHED_RECORD)

    def _claim(self, path: Path) -> None:
        descriptor = open_directory(path)
        try:
            if _is_abandoned(path, descriptor):
                self._claimed.append((hide(path), descriptor))
                descriptor = -1
        finally:
            if descriptor >= 0:
                os.close(descriptor)


def _is_synced(base: PathLike) -> bool:
    """Write the renames in the base to disk: a killed prune may have hidden a version, and not have got this far."""
    try:
        sync(Path(base))
    except OSError:
        return False
    return True


def _is_abandoned(path: Path, descriptor: int) -> bool:
    is_free = try_lock(descriptor)
    return bool(is_free) or (is_free is None and time.time() - _last_change(path) > ABANDONED_AFTER)


def remove_leftovers(base: PathLike) -> None:
    """Delete the stages and half-deleted versions of dead processes, as the next export would; errors are ignored."""
    with contextlib.suppress(OSError, VersionError), Leftovers(base) as leftovers, locked(base):
        leftovers.claim()


def hide(path: Path) -> Path:
    """Rename a directory that is to be deleted, so that an incomplete directory never has its name."""
    if path.name.startswith(PRUNED):
        return path
    hidden = path.with_name(PRUNED + uuid.uuid4().hex)
    rename_new(path, hidden)
    return hidden


def discard(path: Path) -> None:
    """Delete a directory, after hiding it."""
    remove_tree(hide(path))


def remove_tree(path: Path) -> None:
    """Delete a hidden directory; another process may delete it at the same time."""
    try:
        shutil.rmtree(os.fspath(path))
    except FileNotFoundError:
        if os.path.lexists(os.fspath(path)):
            shutil.rmtree(os.fspath(path), ignore_errors=True)
    except RecursionError:
        raise VersionError(
            f"{path}: its directories are nested too deeply to be deleted here; delete it with rm -r"
        ) from None


def _last_change(path: Path) -> float:
    """Return the latest modification or status change of the file, or in the directory, in seconds."""
    paths = [os.path.join(parent, name) for parent, _, names in os.walk(os.fspath(path)) for name in names + ["."]]
    return max(os.lstat(one).st_ctime for one in [os.fspath(path), *paths])


def _concerns_stage(error: OSError, stage: Stage) -> bool:
    """Return whether an error comes from the stage's disk, and is not a bug or in the caller's files.

    A full disk often names no file.
    """
    in_stage = isinstance(error.filename, str) and (error.filename + os.sep).startswith(os.fspath(stage.path) + os.sep)
    return error.errno in _FULL or (in_stage and error.errno not in _BUGS)


def _settle(directory: Path) -> None:
    """Set readable modes on everything below the path and fsync it, deepest first."""
    _set_mode(directory, _DIRECTORY_MODE)
    with os.scandir(os.fspath(directory)) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                _settle(Path(entry.path))
            elif entry.is_file(follow_symlinks=False):
                _set_mode(Path(entry.path), _FILE_MODE)
                sync(Path(entry.path))
            else:
                raise VersionError(
                    f"{entry.path}: neither a file nor a directory, and a version must hold all that it needs; "
                    "write the file itself there"
                )
    sync(directory)


def _set_mode(path: Path, mode: int) -> None:
    # A hard-linked file belongs to a published version too: leave it alone if it is right.
    if stat.S_IMODE(os.stat(os.fspath(path)).st_mode) != mode:
        os.chmod(os.fspath(path), mode)


def sync(path: Path) -> None:
    """Write a file or the entries of a directory to disk."""
    descriptor = os.open(os.fspath(path), os.O_RDONLY)
    try:
        with writing(path):
            os.fsync(descriptor)
    except OSError as error:
        # Some network file systems can't for a directory; they write directories at once.
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF)):
            raise
    finally:
        os.close(descriptor)
