"""Problems of a version directory that keep TF Serving from reading or loading it, found without TensorFlow."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Iterator, List, NamedTuple, Sequence, Tuple

from ckpt2saved.errors.problem import Problem, Unread
from ckpt2saved.files.reading import Entry, PathLike, TooLarge, is_of_environment, printable, walk
from ckpt2saved.files.write_errors import NO_RIGHTS
from ckpt2saved.saved_model.judgement import READ, instead_of_directory, judge, judge_warmup
from ckpt2saved.versions.base import why_no_access


class Health(NamedTuple):
    """The problems of a version directory, and its size."""

    problems: Tuple[Problem, ...]  # () if nothing keeps a TF Serving that runs as any user from loading it
    size: int  # bytes, of all files


def health(version_dir: PathLike, data: int = READ) -> Health:
    """Return what would keep a TF Serving that runs as any user from loading the directory; `data` as in judge()."""
    problems, entries = _content(Path(version_dir), data)
    files = sum(entry.status.st_size for entry in entries if stat.S_ISREG(entry.status.st_mode))
    if not entries and os.path.isfile(os.fspath(version_dir)):
        files = os.stat(os.fspath(version_dir)).st_size
    return Health(problems + tuple(_closed(entries)), files)


def content_problems(version_dir: PathLike, data: int = READ, *, warmup: bool = True) -> Tuple[Problem, ...]:
    """Return what is missing, damaged or unreadable in the SavedModel, or unusable by a server; see judge().

    Without `warmup` the warm-up file, which only TF Serving reads, is not checked.
    """
    return _content(Path(version_dir), data, warmup)[0]


def access_problems(version_dir: PathLike) -> Tuple[Problem, ...]:
    """Return what a server that runs as another user could not read.

    Publishing a copy gives every file the right mode.
    """
    try:
        return tuple(_closed(list(_entries(Path(version_dir)))))
    except OSError:
        return ()  # content_problems says so


def _content(directory: Path, data: int, warmup: bool = True) -> Tuple[Tuple[Problem, ...], List[Entry]]:
    instead = instead_of_directory(directory)
    if instead is not None:
        return (instead,), []
    entries: List[Entry] = []
    try:
        for entry in _entries(directory):
            entries.append(entry)
        problems = _unreadable(entries) or judge(directory, data)
        return problems + (judge_warmup(directory, data) if warmup else ()), entries
    except TooLarge as error:
        return (Problem("too-large", _inside(directory, error.filename), str(error.strerror)),), entries
    except OSError as error:
        kind_of_problem = Unread if is_of_environment(error) else Problem
        unread = kind_of_problem("unreadable-file", printable(str(error.filename)), str(error.strerror))
        return _unreadable(entries) or (unread,), entries


def _inside(directory: Path, name: str) -> str:
    return printable(os.path.relpath(name, os.fspath(directory)))


def _entries(directory: Path) -> Iterator[Entry]:
    """Return the directory and everything in it."""
    path = os.fspath(directory)
    yield Entry(".", path, os.stat(path))
    yield from walk(path)


def _unreadable(entries: Sequence[Entry]) -> Tuple[Problem, ...]:
    problems = []
    for entry in entries:
        is_directory = stat.S_ISDIR(entry.status.st_mode)
        error = why_no_access(entry.path, os.R_OK | os.X_OK if is_directory else os.R_OK)
        if error is not None:
            found = "this user may not read it" if error.errno in NO_RIGHTS else str(error.strerror)
            kind_of_problem = Unread if is_of_environment(error) else Problem
            problems.append(kind_of_problem("unreadable-file", printable(entry.name), found))
    return tuple(problems)


def _closed(entries: Sequence[Entry]) -> List[Problem]:
    problems = []
    for entry in entries:
        is_directory = stat.S_ISDIR(entry.status.st_mode)
        mode = stat.S_IMODE(entry.status.st_mode)
        needed = stat.S_IROTH | stat.S_IXOTH if is_directory else stat.S_IROTH
        if mode & needed != needed:
            found = f"mode {mode:04o}, which denies access to a server that runs as another user"
            remedy = "chmod o+rx" if is_directory else "chmod o+r"
            problems.append(Problem("closed-to-others", printable(entry.name), found, remedy))
    return problems
