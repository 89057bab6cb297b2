"""An existing SavedModel as the next version: roll back, re-publish, or take in one that was built elsewhere."""

from __future__ import annotations

import contextlib
import datetime
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Tuple, Union

from ckpt2saved.disk import writing
from ckpt2saved.errors import VersionError
from ckpt2saved.versions.base import (
    PathLike,
    check_base,
    loaded_version,
    next_version,
    numbered_children,
    os_errors_explained,
    parse_version,
)
from ckpt2saved.versions.health import content_problems
from ckpt2saved.versions.provenance import PROVENANCE, read_provenance, write_provenance
from ckpt2saved.versions.stage import staged


@dataclass(frozen=True)
class Published:
    """A version that was published, or with `dry_run` would be, and the directory whose content it has."""

    number: int
    path: Path
    source: Path
    republished_from: Union[int, str]


def bump_version(
    base: PathLike,
    source: Union[int, PathLike, None] = None,
    *,
    requested: Optional[int] = None,
    dry_run: bool = False,
    now: Optional[datetime.datetime] = None,
) -> Published:
    """Publish `source` as the next version of `base`: a number there, a directory anywhere, or by default the newest.

    A string of digits is a number; a directory of that name is `./7`. Files of a version that ckpt2saved published in
    the same base are shared with it, not copied.
    """
    check_base(base)
    directory = _source_directory(base, source)
    number = _number_in(base, directory)
    _check_source(base, directory)
    origin = os.path.abspath(os.fspath(directory)) if number is None else number
    if dry_run:
        next_number = next_version(base, requested)
        return Published(next_number, Path(base) / str(next_number), directory, origin)

    provenance = read_provenance(directory)
    with staged(base, requested) as stage:
        with os_errors_explained(base, "copy {}".format(directory)):
            copy_version(directory, stage.path, link=number is not None and provenance is not None)
            time = (now or datetime.datetime.now(datetime.timezone.utc)).astimezone(datetime.timezone.utc)
            republished = {"from": origin, "time": time.isoformat(timespec="seconds")}
            write_provenance(stage.path, {**(provenance or {"format": 1}), "republished": republished})
        path = stage.publish()
    return Published(int(path.name), path, directory, origin)


def copy_version(source: PathLike, target: PathLike, *, link: bool) -> None:
    """Fill the directory `target` with the files of `source`; symbolic links become what they lead to.

    With `link`, hard links stand for the files that nobody changes: `source` must be a version that ckpt2saved
    published, which is immutable by contract. Never for what lies behind a symbolic link, nor for the provenance.
    """
    _copy_tree(Path(source), Path(target), link=link and not Path(source).is_symlink(), above=())


def _source_directory(base: PathLike, source: Union[int, PathLike, None]) -> Path:
    if source is None:
        children = numbered_children(base)
        if not children:
            raise VersionError("{}: there is no version to publish again; name a SavedModel directory".format(base))
        return children[-1].path
    if isinstance(source, int):
        return loaded_version(base, source)
    number = parse_version(source) if isinstance(source, str) else None
    return Path(source) if number is None else loaded_version(base, number)


def _number_in(base: PathLike, directory: Path) -> Optional[int]:
    """The version of `base` that the directory is, however it is spelt; None if it lies elsewhere."""
    absolute = Path(os.path.abspath(os.fspath(directory)))
    if os.path.realpath(os.fspath(absolute.parent)) != os.path.realpath(os.fspath(base)):
        return None
    return parse_version(absolute.name)


def _check_source(base: PathLike, directory: Path) -> None:
    real_base, real_source = os.path.realpath(os.fspath(base)), os.path.realpath(os.fspath(directory))
    if (real_base + os.sep).startswith(real_source.rstrip(os.sep) + os.sep):
        raise VersionError(
            "{}: holds the base directory {} itself; expected one version, "
            "that is a directory with saved_model.pb in it".format(directory, base)
        )
    problems = content_problems(directory)
    if problems:
        raise VersionError("{}: not published again, as TF Serving could not load it".format(directory), problems)


def _copy_tree(source: Path, target: Path, *, link: bool, above: Tuple[Tuple[int, int], ...]) -> None:
    status = os.stat(os.fspath(source))
    here = (status.st_dev, status.st_ino)
    if here in above:
        raise VersionError("{}: a symbolic link leads back to a directory that holds it; remove it".format(source))
    with os.scandir(os.fspath(source)) as entries:
        children = sorted(entries, key=lambda entry: entry.name)
    for entry in children:
        shared = link and not entry.is_symlink() and entry.name != PROVENANCE.name
        if entry.is_dir():
            (target / entry.name).mkdir()
            _copy_tree(Path(entry.path), target / entry.name, link=shared, above=above + (here,))
        elif entry.is_file():
            _copy_file(Path(entry.path), target / entry.name, link=shared)
        else:
            raise VersionError("{}: neither a file nor a directory; remove it from the SavedModel".format(entry.path))


def _copy_file(source: Path, target: Path, *, link: bool) -> None:
    # Any other mode would have to be changed for publishing, and a link has the mode of the source.
    if link and stat.S_IMODE(os.lstat(os.fspath(source)).st_mode) == 0o644:
        with contextlib.suppress(OSError):  # another device, too many links, not allowed: then a copy
            os.link(os.fspath(source), os.fspath(target))
            return
    before = os.stat(os.fspath(source))
    with writing(target):
        shutil.copyfile(os.fspath(source), os.fspath(target))
    after = os.stat(os.fspath(source))
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise VersionError("{}: changed while it was copied; wait until it is written, then run again".format(source))
