"""The base directory of a served model: which children TF Serving reads as versions, and the next number."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, List, Optional, Tuple

from ckpt2saved.checkpoint.files import checkpoints_at
from ckpt2saved.errors import VersionError
from ckpt2saved.files.kinds import EMPTY, kind_of
from ckpt2saved.files.reading import OPENED, PathLike, is_url
from ckpt2saved.files.shell_words import for_shell
from ckpt2saved.files.write_errors import NO_RIGHTS, explanation
from ckpt2saved.saved_model.reading import SAVED_MODEL_FILES
from ckpt2saved.versions.object_stores.url import VersionPlace

LARGEST_VERSION = 2**63 - 1

# What absl::SimpleAtoi takes; int() takes more (1_0, other scripts' digits). TF Serving before 2.19 ignores "+5".
_VERSION = re.compile(r"[ \t\n\v\f\r]*([+-]?)0*([0-9]{1,19})[ \t\n\v\f\r]*\Z")
_A_BASE = "the base directory of a model"


@dataclass(frozen=True)
class NumberedPlace:
    """The number of a version, and where it is."""

    number: int
    path: VersionPlace


@dataclass(frozen=True)
class Numbered(NumberedPlace):
    """A child of the base directory whose name TF Serving reads as a number, even if it is no directory."""

    number: int
    path: Path


def parse_version(name: str) -> Optional[int]:
    """Return the version that TF Serving reads from a child's name; None if it ignores the child."""
    match = _VERSION.match(name)
    if match is None:
        return None
    number = int(match.group(1) + match.group(2))
    return number if -LARGEST_VERSION - 1 <= number <= LARGEST_VERSION else None


def numbered_children(base: PathLike) -> Tuple[Numbered, ...]:
    """Return every child of `base` that TF Serving reads as a version, oldest first.

    Empty if the base does not exist. Among children with one number (`01`, `1`), the last is the one that TF Serving
    loads.
    """
    folder = Path(base)
    return tuple(Numbered(number, folder / name) for number, name in sorted(numbered_names(base)))


def newest_child(base: PathLike) -> Optional[Numbered]:
    """Return the last of numbered_children, without the cost of all the others; None if there are none."""
    number, name = max(numbered_names(base), default=(0, ""))
    return Numbered(number, Path(base) / name) if name else None


def numbered_names(base: PathLike) -> List[Tuple[int, str]]:
    """Return number and name of numbered_children, in any order and without the cost of their paths."""
    try:
        with os_errors_explained(base, "list the versions"):
            names = os.listdir(os.fspath(base))
    except VersionError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return []
        raise
    numbers = ((parse_version(name), name) for name in names)
    return [(number, name) for number, name in numbers if number is not None]


def next_version(base: PathLike, requested: Optional[int] = None) -> int:
    """Return `requested` if it is above every number in `base`; by default the highest number plus one.

    Skipped and deleted numbers are never used: with its default policy TF Serving does not load a number below the
    highest.
    """
    _check_number(base, requested)
    newest = newest_child(base)
    return number_after(base, requested, None if newest is None else newest.number, newest.path if newest else "")


def number_after(base: object, requested: Optional[int], newest: Optional[int], where: object) -> int:
    """Return the number of the version that follows `newest`, or `requested` if it is larger; `where` has `newest`.

    Raises VersionError if there is no such number.
    """
    _check_number(base, requested)
    if newest is None:
        return 1 if requested is None else requested
    if newest == LARGEST_VERSION:
        raise VersionError(
            f"{where}: its number is the largest that TF Serving reads, so that no version can follow it; "
            "publish under another base directory"
        )
    smallest_free = max(newest + 1, 1)
    if requested is None:
        return smallest_free
    if requested < smallest_free:
        raise VersionError(
            f"{base}: version {requested} can't be published, as {where} is there already and numbers only grow; "
            f"ask for {smallest_free} or more, or for no number at all"
        )
    return requested


def _check_number(base: object, requested: Optional[int]) -> None:
    if requested is not None and not 1 <= requested <= LARGEST_VERSION:
        raise VersionError(f"{base}: {requested} can't be a version number; expected 1 to {LARGEST_VERSION}")


def loaded_version(base: PathLike, number: int) -> Path:
    """Return the child of `base` that TF Serving loads for this number: of `1` and `01` it is `1`, the last by name."""
    children = numbered_children(base)
    matching = [child.path for child in children if child.number == number]
    if not matching:
        names = ", ".join(child.path.name for child in children)
        raise VersionError(
            f"{base}: there is no version {number}; expected one of {names}"
            if children
            else f"{base}: there is no version {number}; the base directory has no versions"
        )
    return matching[-1]


def check_base(base: PathLike, reading: bool = False) -> None:
    """Raise VersionError if no version can be published in a base; for `reading` it must exist."""
    _check_not_remote(base)
    with os_errors_explained(base, "look at the base directory"):
        _check_base(base, reading)


def _check_base(base: PathLike, reading: bool) -> None:
    if _is_other_than_directory(base):
        _refuse_graph_file(base)
        refuse_other_kinds(base, _A_BASE)
        raise VersionError(f"{base}: not a directory; expected the base directory of a model")
    if reading and not numbered_children(base) and not _has_graph(base):
        refuse_other_kinds(base, _A_BASE)
    _check_not_a_version(base)
    if not os.path.isdir(os.fspath(base)) and reading:
        raise VersionError(f"{base}: there is no such directory; expected the base directory of a model")
    if not reading:
        _check_writable(base)


def refuse_other_kinds(path: PathLike, expected: str) -> None:
    """Raise VersionError if `path` is something else than `expected`, such as a checkpoint."""
    kind = kind_of(Path(path))
    if kind and kind.what != EMPTY:
        raise VersionError(f"{path}: {kind.instead_of(expected)}")
    prefixes = checkpoints_at(Path(path))
    if prefixes:
        raise VersionError(
            f"{path}: this is"
            f" {('a checkpoint' if len(prefixes) == 1 else f'a directory of {len(prefixes)} checkpoints')}, not"
            f" {expected}: publish {'it' if len(prefixes) == 1 else 'one of them'} with ckpt2saved export --checkpoint"
            f" {prefixes[-1]} --export-dir BASE, and pass BASE"
        )


def why_no_access(path: PathLike, rights: int) -> Optional[OSError]:
    """Return the error of an access with these rights (os.R_OK, os.W_OK, os.X_OK); None if this user has them."""
    if _may_access(path, rights):
        return None
    # Missing rights are not the only reason; os.access gives none, and a failing disk may answer the second time.
    try:
        os.close(os.open(os.fspath(path), OPENED))
        os.stat(os.path.join(os.fspath(path), ".") if rights & os.X_OK else os.fspath(path))
    except OSError as error:
        return error
    if not rights & os.W_OK or _may_access(path, rights):
        return None
    return PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _may_access(path: PathLike, rights: int) -> bool:
    """Return whether the effective user of this process has these rights."""
    return os.access(os.fspath(path), rights, effective_ids=os.access in os.supports_effective_ids)


@contextlib.contextmanager
def os_errors_explained(where: PathLike, doing: str) -> Iterator[None]:
    """Convert file system errors (full disk, missing rights) in the block into a VersionError."""
    try:
        yield
    except OSError as error:
        raise explained(error, where, doing) from error


def explained(error: OSError, where: PathLike, doing: str) -> VersionError:
    """Return a VersionError with the file system error and its remedy."""
    return VersionError(explanation(error, where, doing))


def _is_other_than_directory(path: PathLike) -> bool:
    """Return whether the path exists and is not a directory, by a single stat call that no exporter can race."""
    try:
        return not stat.S_ISDIR(os.stat(os.fspath(path)).st_mode)
    except OSError:
        return os.path.islink(os.fspath(path))


def _check_not_remote(base: PathLike) -> None:
    if is_url(base) and not os.path.isdir(os.fspath(base)):
        raise VersionError(
            f"{base}: not a local directory; expected a path, or the URL of an object store as text, with two slashes:"
            " s3://BUCKET/models/crnn"
        )


def _refuse_graph_file(path: PathLike) -> None:
    """Raise VersionError for a version's saved_model.pb, with the base directory as the remedy."""
    absolute = _absolute(path)
    if absolute.name in SAVED_MODEL_FILES and absolute.is_file() and parse_version(absolute.parent.name) is not None:
        raise VersionError(f"{path}: this is the graph file of a version, not {_A_BASE}; pass {_parent(_parent(path))}")


def _has_graph(directory: PathLike) -> bool:
    return any((_absolute(directory) / name).is_file() for name in SAVED_MODEL_FILES)


def _check_not_a_version(base: PathLike) -> None:
    """Raise VersionError if the base is a version: TF Serving would not find versions in it."""
    absolute = _absolute(base)
    for name in SAVED_MODEL_FILES:
        if (absolute / name).is_file():
            way = (
                f"take it in with ckpt2saved bump-version BASE --from {for_shell(base)}"
                if parse_version(absolute.name) is None
                else f"pass its parent, {_parent(base)}"
            )
            raise VersionError(f"{base}: this is a SavedModel (it holds {name}), not {_A_BASE}; {way}")
    if parse_version(absolute.name) is not None and not numbered_children(absolute):
        raise VersionError(
            f"{base}: its name is a version number, and it has no versions; expected the base directory, "
            f"{_parent(base)}"
        )


def _parent(base: PathLike) -> Path:
    given = Path(base)
    return given.parent if given.name not in ("", "..") else _absolute(given).parent


def _absolute(path: PathLike) -> Path:
    return Path(os.path.abspath(os.fspath(path)))


def _check_writable(base: PathLike) -> None:
    existing = _absolute(base)
    while not os.path.lexists(os.fspath(existing)):
        existing = existing.parent
    try:
        _check_writable_there(base, existing)
    except (OSError, VersionError):
        if os.path.lexists(os.fspath(existing)):
            raise
        _check_writable(base)  # a failing exporter has removed it since it was found


def _check_writable_there(base: PathLike, existing: Path) -> None:
    """Raise OSError or VersionError if the base can't be created below, or written to at, a path that exists."""
    if _is_other_than_directory(existing):
        raise VersionError(f"{base}: can't be created, as {existing} is not a directory")
    if os.statvfs(os.fspath(existing)).f_flag & os.ST_RDONLY:
        raise VersionError(
            f"{base}: the file system of {existing} is mounted read-only; publish elsewhere, or have it mounted for"
            " writing"
        )
    refused = why_no_access(existing, os.R_OK | os.W_OK | os.X_OK)
    if refused is not None:
        if refused.errno not in NO_RIGHTS:
            raise refused  # os_errors_explained says it
        directory = "the directory" if existing == _absolute(base) else existing
        raise VersionError(
            f"{base}: this user may not write to {directory}; run as one who may, have it opened for this one, "
            "or publish elsewhere"
        )
