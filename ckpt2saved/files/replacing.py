"""Atomic replacement of files that a running server may read at any time."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Iterator, Mapping, Optional

from ckpt2saved.errors import ServingError
from ckpt2saved.files.write_errors import explanation, writing

_DIRECTORY_MODE = 0o755  # for a server that runs as another user
_MODES = {".sh": 0o755}
_MODE = 0o644


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
    """Replace a file by one rename; on failure raises an OSError with its name and keeps the old file."""
    handle, temporary = tempfile.mkstemp(prefix=unfinished_prefix(path.name), dir=os.fspath(path.parent))
    try:
        with writing(path), os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, _MODES.get(path.suffix, _MODE))
        os.replace(temporary, os.fspath(path))
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def unfinished_prefix(name: str) -> str:
    """Return how the names of the files begin that replace_file writes for a file of this name, and then renames."""
    return f".{name}-"


@contextlib.contextmanager
def _explained(path: Path, doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ServingError(explanation(error, path, doing)) from error
