"""Errors when writing files (full disk, quota, limit): the file concerned, and the remedy."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from pathlib import Path
from typing import Iterator, Optional

from ckpt2saved.errors import WriteError
from ckpt2saved.files.reading import PathLike

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NO_RIGHTS = (errno.EACCES, errno.EPERM)

_ADVICE = {
    errno.ENOSPC: "free some space there and run again",
    errno.EDQUOT: "free space in this user's quota, or have it raised, and run again",
    errno.EFBIG: "a limit on the size of files is reached (ulimit -f, or the file system's); raise it and run again",
    errno.EROFS: "the file system is mounted read-only; write elsewhere, or remount it for writing",
}
_GRANT_RIGHTS = "run as a user with the required rights, or grant them to this user"

# "FILE; No space left on device" is how TensorFlow says it, on a line of its own in a longer text.
_REASONS = {
    os.strerror(code): code for code in FULL + (errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM, errno.ESTALE)
}
_BY_TENSORFLOW = re.compile(rf"(?m)^(?P<file>.*); (?P<reason>{'|'.join(map(re.escape, _REASONS))})")
_NO_TEMPORARY = "No usable temporary directory"
_UNFINISHED = re.compile(r"\.tempstate[0-9]+\Z")  # the end of a file's name while SaveV2 writes it


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Add the file name `path` to an OSError raised in the block, since write errors carry none.

    If the disk is full, the source of a copy is replaced by `path` too.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None or error.errno in FULL:
            error.filename, error.filename2 = os.fspath(path), None
        raise


def error_in(message: str) -> Optional[OSError]:
    """Return the OSError that a TensorFlow message reports; None if it reports another error."""
    match = _BY_TENSORFLOW.search(message)
    if match is None:
        return None
    name = _UNFINISHED.sub("", match.group("file"))
    return OSError(_REASONS[match.group("reason")], match.group("reason"), name)


def advice(error: OSError) -> str:
    """Return the remedy for a file system error."""
    if error.errno in NO_RIGHTS:
        return _GRANT_RIGHTS
    return _ADVICE.get(error.errno or 0, "fix this and run again")


def explanation(error: OSError, where: PathLike, doing: str) -> str:
    """Return the file system error at `where`, with the remedy."""
    at = f" ({error.filename})" if error.filename else ""
    return f"{where}: could not {doing}: {error.strerror or error}{at}; {advice(error)}"


def not_written(error: OSError) -> Optional[WriteError]:
    """Describe a failure to write a file; None for another kind of error, or one without a file."""
    if _NO_TEMPORARY in str(error):  # from Python's tempfile, which TensorFlow uses on import
        return WriteError(
            f"{error.strerror}: none of them can be written; free some space there, or set another one in the variable"
            " TMPDIR"
        )
    if error.errno not in FULL or error.filename is None:
        return None
    name = error.filename if error.filename2 is None else error.filename2
    return WriteError(f"{os.fsdecode(name)}: could not write it: {error.strerror}; {advice(error)}")
