"""The deletion of old versions, by which what can't be deleted does not keep the others."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import FrozenSet, Iterable, List, Optional, Sequence, Tuple

from ckpt2saved.console.say import Say, silent
from ckpt2saved.errors import NotDeleted, VersionError
from ckpt2saved.errors.problem import Problem
from ckpt2saved.files.locks import try_lock
from ckpt2saved.files.reading import PathLike, printable
from ckpt2saved.files.write_errors import advice
from ckpt2saved.saved_model.judgement import SAMPLED
from ckpt2saved.saved_model.reading import SAVED_MODEL_NAMES
from ckpt2saved.versions.base import (
    Numbered,
    NumberedPlace,
    check_base,
    numbered_children,
    os_errors_explained,
    why_no_access,
)
from ckpt2saved.versions.health import health
from ckpt2saved.versions.lock import locked, open_directory
from ckpt2saved.versions.provenance import read_provenance
from ckpt2saved.versions.published_checkpoints import record_pruned
from ckpt2saved.versions.stage import Leftovers, hide, remove_tree, sync


def prune_versions(
    base: PathLike, keep: int = 5, *, spare: Iterable[int] = (), dry_run: bool = False, say: Say = silent
) -> Tuple[Numbered, ...]:
    """Delete the versions older than the `keep` newest complete ones; return what was (would be) deleted.

    A broken version is not counted, since the server answers from an older one; so the newest complete version is never
    deleted, and nothing is deleted if none is complete. Numbers in `spare`, files, negative numbers, and directories
    that never were a SavedModel are kept. The base is locked during each deletion only; `say` is called during a long
    wait for the lock. Raises NotDeleted if some could not be deleted, after it has deleted the others.
    """
    if keep < 1:
        raise VersionError(f"{base}: can't keep {keep} versions; expected 1 or more")
    check_base(base, reading=True)
    if not dry_run:
        check_base(base)
        with os_errors_explained(base, "delete old versions"):
            with Leftovers(base) as leftovers, locked(base, say):
                leftovers.claim()
    with os_errors_explained(base, "look for old versions"):
        found = _superseded(base, keep, frozenset(spare))
    problems = list(found.problems)
    deleted = found.versions if dry_run else _delete_all(base, found.versions, problems, say)
    refuse_undeleted(base, deleted, problems)
    return tuple(deleted)


def refuse_undeleted(base: object, deleted: Sequence[NumberedPlace], problems: Sequence[Problem]) -> None:
    """Raise NotDeleted if there are problems; `deleted` are the versions that have none."""
    if not problems:
        return
    count = "an old version" if len(problems) == 1 else f"{len(problems)} old versions"
    others = f", {len(deleted)} could" if deleted else ""
    raise NotDeleted(f"{base}: {count} could not be deleted{others}", problems, [one.path for one in deleted])


def not_deleted(name: str, found: str, remedy: str = "") -> Problem:
    """Return the problem of a version that could not be deleted."""
    return Problem("not-deleted", printable(name), found, remedy)


@dataclass(frozen=True)
class _Superseded:
    """The versions that can be deleted, newest first, and why others can't be looked at."""

    versions: Tuple[Numbered, ...]
    problems: Tuple[Problem, ...]


def _delete_all(base: PathLike, versions: Iterable[Numbered], problems: List[Problem], say: Say) -> Sequence[Numbered]:
    """Delete versions, and return those that were; adds to `problems` why the others were not."""
    deleted = []
    for version in versions:
        try:
            problem = _delete(base, version, say)
        except FileNotFoundError:
            continue  # another process has deleted it
        except VersionError as error:  # the lock, which is not to be waited for once more for each version
            problems.append(not_deleted(version.path.name, error.message))
            break
        if problem is None:
            deleted.append(version)
        else:
            problems.append(problem)
    return deleted


def _delete(base: PathLike, version: Numbered, say: Say) -> Optional[Problem]:
    """Delete a version, and keep a record of its checkpoint; returns why it, or a part of it, is still there.

    Raises VersionError if the base can't be locked, and FileNotFoundError if another process has deleted the version.
    """
    path = version.path
    try:
        if path.is_symlink():
            with locked(base, say):
                record_pruned(base, version.number, read_provenance(path))
                path.unlink()  # never delete a link's target
            return None
        _check_rights(path)
        # Its own lock shows other processes that it is being deleted.
        descriptor = open_directory(path)
        try:
            try_lock(descriptor)
            with locked(base, say):
                record_pruned(base, version.number, read_provenance(path))
                hidden = hide(path)
            return _remove(base, path.name, hidden)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise
    except OSError as error:
        return not_deleted(path.name, _failure("", error), advice(error))


def _remove(base: PathLike, name: str, hidden: Path) -> Optional[Problem]:
    """Delete what was a version until it was hidden; returns why some of its files are still there."""
    left = f"no version any more, but files are left in {hidden}: "
    try:
        # If the machine stops, its number must not come back with some of its files gone.
        sync(Path(base))
        remove_tree(hidden)
    except OSError as error:
        return not_deleted(name, _failure(left, error), advice(error))
    except VersionError as error:
        return not_deleted(name, left + error.message)
    return None


def _check_rights(path: Path) -> None:
    """Raise OSError if this user could not delete the files of a version, which then stays as it is."""

    def fail(error: OSError) -> None:
        raise error

    for directory, below, files in os.walk(os.fspath(path), onerror=fail):
        error = why_no_access(directory, os.W_OK | os.X_OK) if below or files else None
        if error is not None:
            error.filename = directory
            raise error


def _failure(before: str, error: OSError) -> str:
    at = f" ({error.filename})" if error.filename else ""
    return f"{before}{error.strerror or error}{at}"


def _superseded(base: PathLike, keep: int, spare: FrozenSet[int]) -> _Superseded:
    """Return the versions that can be deleted; judges only as many as needed."""
    children = numbered_children(base)
    # Of `1` and `01` only the one that TF Serving loads decides whether version 1 is complete.
    loaded = {child.number: child for child in children}
    oldest_kept, complete = -1, 0
    for number in sorted(loaded, reverse=True):
        if complete == keep or number < 0:
            break
        if not health(loaded[number].path, SAMPLED).problems:
            oldest_kept, complete = number, complete + 1
    versions, problems = [], []
    for child in reversed(children):
        if 0 <= child.number < oldest_kept and child.number not in spare:
            try:
                if _is_version(child.path):
                    versions.append(child)
            except OSError as error:
                problems.append(not_deleted(child.path.name, _failure("could not look at it: ", error), advice(error)))
    return _Superseded(tuple(versions), tuple(problems))


def _is_version(path: Path) -> bool:
    """Return whether the directory is a SavedModel or the remains of one.

    Other directories, such as `2019` with photographs, must not be deleted.
    """
    try:
        names = set(os.listdir(os.fspath(path)))
    except (FileNotFoundError, NotADirectoryError):  # a file, a dangling link, or deleted meanwhile by another prune
        return False
    return not names or bool(names & SAVED_MODEL_NAMES)
