"""Reading of untrusted files and directory trees within limits, without blocking on pipes."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import re
import stat
from pathlib import Path
from typing import BinaryIO, Iterator, NamedTuple, Union

PathLike = Union[str, "os.PathLike[str]"]

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # Path("s3://bucket") has already lost a slash

MOST_LEVELS = 64  # nested directories in one SavedModel; TensorFlow writes two
MOST_ENTRIES = 100000  # files and directories in one SavedModel

_PIECE = 1 << 20  # bytes that are read together

OPENED = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


_NOT_OF_THE_FILE = (
    *(errno.EACCES, errno.EPERM),  # of this user
    *(errno.EIO, errno.ENXIO, errno.ESTALE, errno.ETIMEDOUT),  # of the disk, or of a server of files
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM),  # of this process or machine
)


def is_of_environment(error: OSError) -> bool:
    """Return whether an error of reading says nothing of the file: missing rights, a failing disk, or a limit."""
    return error.errno in _NOT_OF_THE_FILE


class TooLarge(OSError):
    """A directory tree or file exceeds a limit; `strerror` says which."""


class Entry(NamedTuple):
    """A file or directory found by walk()."""

    name: str  # path relative to the walked directory
    path: str
    status: os.stat_result  # of a link's target


def open_file(path: PathLike, most: int = 0) -> BinaryIO:
    """Open a regular file for reading; raises OSError for other file types and above `most` bytes.

    Follows symbolic links. Does not block on a pipe.
    """
    descriptor = os.open(os.fspath(path), OPENED)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, f"{kind(status.st_mode)}, not a file", os.fspath(path))
        if most and status.st_size > most:
            text = f"{status.st_size} bytes, and at most {most} are read"
            raise TooLarge(errno.EFBIG, text, os.fspath(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_file(path: PathLike, most: int) -> bytes:
    """Return the content of a regular file of at most `most` bytes; raises OSError like open_file."""
    with open_file(path, most) as file, _named(path):
        return file.read(most + 1)[:most]


def sha256_of(path: PathLike) -> str:
    """Return the SHA-256 of a regular file; raises OSError like open_file."""
    digest = hashlib.sha256()
    with open_file(path) as file, _named(path):
        for piece in iter(functools.partial(file.read, _PIECE), b""):
            digest.update(piece)
    return digest.hexdigest()


@contextlib.contextmanager
def _named(path: PathLike) -> Iterator[None]:
    """Add the file name to an OSError raised in the block, since read errors carry none."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = os.fspath(path)
        raise


def size_of(file: BinaryIO) -> int:
    """Return the size of an open file in bytes."""
    return os.fstat(file.fileno()).st_size


def is_url(path: PathLike) -> bool:
    """Return whether a path is an address, as s3://bucket is."""
    return _URL.match(os.fspath(path)) is not None


def kind(mode: int) -> str:
    """Return the name of the file type of a mode."""
    for is_kind, name in (
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISLNK, "a symbolic link"),
    ):
        if is_kind(mode):
            return name
    return "a file"


def printable(name: str) -> str:
    """Return a file name for a message, with control characters and invalid UTF-8 escaped."""
    try:
        text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # a lone surrogate, which JSON can contain
        text = name.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def walk(directory: PathLike) -> Iterator[Entry]:
    """Yield everything below a directory, sorted by name; links to directories are not followed.

    Dangling links are skipped. Raises TooLarge above MOST_LEVELS or MOST_ENTRIES, and OSError for what can't be read.
    """
    left = [("", 0)]
    count = 0
    while left:
        inside, level = left.pop()
        with os.scandir(os.path.join(os.fspath(directory), inside)) as entries:
            found = []
            for entry in entries:
                count += 1
                if count > MOST_ENTRIES:
                    raise TooLarge(errno.EFBIG, f"more than {MOST_ENTRIES} files", os.fspath(directory))
                found.append(entry)
        below = []
        for entry in sorted(found, key=lambda one: one.name):
            name = os.path.join(inside, entry.name)
            try:
                status = entry.stat()
            except OSError:
                if entry.is_symlink():
                    continue  # dangling or cyclic
                raise
            yield Entry(name, entry.path, status)
            if entry.is_dir(follow_symlinks=False):
                if level + 1 > MOST_LEVELS:
                    top = Path(name).parts[0]
                    text = f"more than {MOST_LEVELS} nested directories"
                    raise TooLarge(errno.EFBIG, text, os.path.join(os.fspath(directory), top))
                below.append((name, level + 1))
        left += reversed(below)
