"""Publishing an existing SavedModel as the next version, for a rollback or for one built elsewhere."""

from __future__ import annotations

import contextlib
import datetime
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Optional, Tuple, Union

from ckpt2saved.console.say import Say, begin, silent
from ckpt2saved.errors import Ckpt2SavedError, VersionError
from ckpt2saved.files.reading import PathLike, sha256_of
from ckpt2saved.saved_model.judgement import EVERYTHING, READ
from ckpt2saved.versions.base import (
    check_base,
    loaded_version,
    newest_child,
    next_version,
    os_errors_explained,
    parse_version,
)
from ckpt2saved.versions.content import check_copy, content_of_files, file_hashes, recorded_content
from ckpt2saved.versions.copying import copy_version
from ckpt2saved.versions.health import content_problems
from ckpt2saved.versions.object_stores.url import VersionPlace
from ckpt2saved.versions.provenance import PROVENANCE, read_provenance, write_provenance
from ckpt2saved.versions.stage import Stage, staged

BATCHING_FILE = "batching_params.pbtxt"  # in a version, read with --enable_per_model_batching_parameters
_REFUSED = "not republished"
_ALTERED = f"copy the version again, name another one, or delete {PROVENANCE} from this one to publish what is there"
_ATTEMPTS = 100  # to republish the newest version during concurrent prunes


@dataclass(frozen=True)
class Published:
    """A published version, or with `dry_run` a planned one, and its source directory."""

    number: int
    path: VersionPlace
    source: VersionPlace
    republished_from: Union[int, str]
    dry_run: bool = False
    provenance: Mapping[str, Any] = field(default_factory=dict)  # the record of its origin; {} in a dry run

    def as_content(self) -> Dict[str, Any]:
        """Return the content of --json, without the server."""
        return {
            "path": str(self.path),
            "version": self.number,
            "from": self.republished_from,
            "dry_run": self.dry_run,
        }


@dataclass(frozen=True)
class BumpOptions:
    """Options of bump_version()."""

    requested: Optional[int] = None  # the number; None: the next one
    dry_run: bool = False
    deep: bool = False  # compare checksums of all data first
    batching: Optional[str] = None  # the content of the version's BATCHING_FILE; None: as in the source
    now: Optional[datetime.datetime] = None  # None: the time at which it is published


SourceCheck = Callable[[Path, VersionPlace], None]  # of the directory with the files, and of the place they are from


def unchecked(directory: Path, place: VersionPlace) -> None:
    """The check of a source that need not be checked."""


def bump_version(
    base: PathLike,
    source: Union[int, PathLike, None] = None,
    options: BumpOptions = BumpOptions(),
    say: Say = silent,
    check: SourceCheck = unchecked,
) -> Published:
    """Publish `source` as the next version of `base`: a number there, a directory, or by default the newest.

    A string of digits is a number; write `./7` for a directory of that name. Files of a version that ckpt2saved
    published in the same base are hard-linked, not copied. `say` is called during a long wait for the lock. `check` is
    called with a complete source, also in a dry run; nothing is published if it raises an error. Raises VersionError
    for a source that TF Serving could not load.
    """
    check_base(base)
    for _ in range(_ATTEMPTS):
        directory = _source_directory(base, source)
        try:
            return _publish(base, directory, options, say, check)
        except _Vanished:
            if source is not None:
                break
            # Pruned meanwhile: there is a newer one.
    raise VersionError(
        f"{directory}: deleted or replaced while it was read, as by a prune; run again, or name another version"
    )


class _Vanished(Exception):
    """The source was deleted or replaced meanwhile."""


def _publish(base: PathLike, directory: Path, options: BumpOptions, say: Say, check: SourceCheck) -> Published:
    number = _number_in(base, directory)
    origin = os.path.abspath(os.fspath(directory)) if number is None else number
    before = _identity(directory)
    stage: Optional[Stage] = None
    try:
        begin(say, f"checking {directory}")
        _check_source(base, directory, EVERYTHING if options.deep else READ)
        if options.dry_run:
            if recorded_content(directory) is not None:
                with os_errors_explained(base, f"read {directory}"):
                    check_copy(directory, directory, _REFUSED, _ALTERED)
            check(directory, directory)
            next_number = next_version(base, options.requested)
            return Published(next_number, Path(base) / str(next_number), directory, origin, dry_run=True)
        begin(say, f"publishing {directory}")
        provenance = read_provenance(directory)
        with staged(base, options.requested, say) as stage:
            with os_errors_explained(base, f"copy {directory}"):
                is_linked = number is not None and provenance is not None
                recorded = fill_with_copy(stage.path, directory, origin, options, link=is_linked)
            check(directory, directory)
            if _identity(directory) != before:
                raise _Vanished  # some of its files may have been deleted before they were copied
            path = stage.publish()
    except Ckpt2SavedError:
        if stage is not None and stage.published is not None:
            raise  # to try again would publish it twice
        # The problems come from the deletion in progress.
        if _identity(directory) != before or (number is not None and not os.path.lexists(os.fspath(directory))):
            raise _Vanished from None
        raise
    return Published(int(path.name), path, directory, origin, provenance=recorded)


def fill_with_copy(
    stage: Path, directory: Path, origin: Union[int, str], options: BumpOptions, *, link: bool = False
) -> Dict[str, Any]:
    """Copy a SavedModel into a stage, and return the provenance that is written there; `link` as in copy_version()."""
    provenance = read_provenance(directory) or {"format": 1}
    copy_version(directory, stage, link=link)
    hashes: Optional[Dict[str, str]] = None
    if not link or recorded_content(directory) is not None:  # what an old export has not recorded is not read
        hashes = check_copy(stage, directory, _REFUSED, _ALTERED)
    if options.batching is not None:  # the file of the source may be hard-linked, and must stay as it is
        hashes = file_hashes(stage) if hashes is None else hashes
        with contextlib.suppress(FileNotFoundError):
            (stage / BATCHING_FILE).unlink()
        (stage / BATCHING_FILE).write_text(options.batching, encoding="utf-8")
        hashes[BATCHING_FILE] = sha256_of(stage / BATCHING_FILE)  # the other files are not read again
    content = {} if hashes is None else {"content_sha256": content_of_files(hashes)}
    time = (options.now or datetime.datetime.now(datetime.timezone.utc)).astimezone(datetime.timezone.utc)
    republished = {"from": origin, "time": time.isoformat(timespec="seconds")}
    recorded = {**provenance, **content, "republished": republished}
    write_provenance(stage, recorded)
    return recorded


def _identity(directory: Path) -> Optional[Tuple[int, int]]:
    try:
        status = os.stat(os.fspath(directory))
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _source_directory(base: PathLike, source: Union[int, PathLike, None]) -> Path:
    if source is None:
        newest = newest_child(base)
        if newest is None:
            raise VersionError(f"{base}: there is no version to republish; name a SavedModel directory")
        return newest.path
    if isinstance(source, int):
        return loaded_version(base, source)
    number = parse_version(source) if isinstance(source, str) else None
    return Path(source) if number is None else loaded_version(base, number)


def _number_in(base: PathLike, directory: Path) -> Optional[int]:
    """Return the version of `base` that the directory is, resolving links; None if it is elsewhere."""
    absolute = Path(os.path.abspath(os.fspath(directory)))
    if os.path.realpath(os.fspath(absolute.parent)) != os.path.realpath(os.fspath(base)):
        return None
    return parse_version(absolute.name)


def _check_source(base: PathLike, directory: Path, data: int) -> None:
    real_base, real_source = os.path.realpath(os.fspath(base)), os.path.realpath(os.fspath(directory))
    if (real_base + os.sep).startswith(real_source.rstrip(os.sep) + os.sep):
        raise VersionError(
            f"{directory}: holds the base directory {base} itself; expected one version, "
            "that is a directory with saved_model.pb in it"
        )
    problems = content_problems(directory, data)
    if problems:
        raise VersionError(f"{directory}: not republished, since TF Serving could not load it", problems)
