"""Atomic replacement of files that a running server may read at any time."""

from __future__ import annotations

import contextlib
import os
import re
import time
import uuid
from pathlib import Path
from typing import Iterator, Mapping, Optional

from ckpt2saved.errors import ServingError
from ckpt2saved.files.locks import ABANDONED_AFTER, try_lock
from ckpt2saved.files.write_errors import explanation, writing

_DIRECTORY_MODE = 0o755  # for a server that runs as another user
_MODES = {".sh": 0o755}
_MODE = 0o644
_CREATED = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_RANDOM = re.compile(r"[0-9a-f]{16}\Z")


def read_if_there(path: Path) -> Optional[str]:
    """Return the file's text; None if it does not exist."""
    with _explained(path, "read it"):
        try:
            return path.read_bytes().decode("utf-8", "replace")
        except FileNotFoundError:
            return None


def write_files(directory: Path, files: Mapping[str, str]) -> None:
    """Write the files in the given order; the directory is created if needed."""
    with _explained(directory, "write the configuration"):
        if not directory.is_dir():
            directory.mkdir(parents=True)
            directory.chmod(_DIRECTORY_MODE)
        for name, text in files.items():
            replace_file(directory / name, text.encode("utf-8"))


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file by one rename; on failure raises an OSError with its name and keeps the old file.

    First removes what killed processes have left beside it. The new file is locked until the rename, so that no other
    process takes it for left.
    """
    with contextlib.suppress(OSError):
        remove_unfinished(path.parent, path.name)
    is_written = False
    while not is_written:
        temporary = path.with_name(f"{_unfinished_prefix(path.name)}{uuid.uuid4().hex[:16]}")
        descriptor = -1
        try:  # around the creation too: a signal may come between any two steps
            descriptor = os.open(os.fspath(temporary), _CREATED, 0o600)
            if try_lock(descriptor) is False or not _is_at(temporary, descriptor):
                continue  # another process has looked before it was locked
            with writing(path), os.fdopen(os.dup(descriptor), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(os.fspath(temporary), _MODES.get(path.suffix, _MODE))
            os.replace(os.fspath(temporary), os.fspath(path))
            is_written = True
        finally:
            if not is_written:
                with contextlib.suppress(OSError):
                    os.unlink(os.fspath(temporary))
            if descriptor >= 0:
                os.close(descriptor)


def remove_unfinished(directory: Path, *names: str) -> None:
    """Delete the files that killed processes have left when they replaced files of these names; raises OSError."""
    prefixes = tuple(_unfinished_prefix(name) for name in names)
    with os.scandir(os.fspath(directory)) as entries:
        found = [
            entry.path
            for entry in entries
            if entry.name.startswith(prefixes)
            and any(entry.name.startswith(one) and _RANDOM.match(entry.name[len(one) :]) for one in prefixes)
            and entry.is_file(follow_symlinks=False)
        ]
    for name in found:
        with contextlib.suppress(OSError):  # another user's, or renamed meanwhile
            _remove_abandoned(name)


def _remove_abandoned(name: str) -> None:
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        is_free = try_lock(descriptor)
        if is_free or (is_free is None and time.time() - os.fstat(descriptor).st_ctime > ABANDONED_AFTER):
            os.unlink(name)
    finally:
        os.close(descriptor)


def _unfinished_prefix(name: str) -> str:
    """Return how the names of the files begin that replace_file writes for a file of this name, and then renames."""
    return f".{name}-"


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(os.fspath(path)))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _explained(path: Path, doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ServingError(explanation(error, path, doing)) from error
