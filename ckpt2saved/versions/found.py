"""Resolution of a path to a version: a version directory, or the newest version of a base directory."""

from __future__ import annotations

import os
from pathlib import Path

from ckpt2saved.console.say import Say, silent
from ckpt2saved.errors import VersionError
from ckpt2saved.errors.problem import Problem
from ckpt2saved.files.reading import PathLike
from ckpt2saved.saved_model.judgement import SAMPLED
from ckpt2saved.saved_model.reading import SAVED_MODEL_FILES
from ckpt2saved.versions.base import numbered_children, os_errors_explained, parse_version, refuse_other_kinds
from ckpt2saved.versions.health import content_problems


def find_version(path: PathLike) -> Path:
    """Return the version directory for a version, its saved_model.pb, or a base directory (its newest version).

    Raises VersionError if there is none.
    """
    with os_errors_explained(path, "look for a version"):
        return _found(path)


def _found(path: PathLike) -> Path:
    given = Path(path)
    given = given.parent if given.name in SAVED_MODEL_FILES and given.is_file() else given
    if not os.path.isdir(os.fspath(given)):
        refuse_other_kinds(given, "a version directory")
        what = "not a directory" if os.path.lexists(os.fspath(given)) else "there is no such directory"
        raise VersionError(f"{given}: {what}; expected a version, or the base directory of a model")
    if any((given / name).is_file() for name in SAVED_MODEL_FILES):
        return given
    children = [child for child in numbered_children(given) if child.number >= 0]
    if children:
        return children[-1].path
    refuse_other_kinds(given, "a version")
    if parse_version(Path(os.path.abspath(os.fspath(given))).name) is not None:
        return given  # a version without its graph; the caller reports it
    raise VersionError(
        f"{given}: neither a version (saved_model.pb is not there) nor the base directory of a model (it has no"
        " version directories)"
    )


def find_complete_version(path: PathLike, say: Say = silent) -> Path:
    """Return the version directory for a version, or for a base directory its newest version that TF Serving loads.

    `say` is called for each newer version that has problems. Raises VersionError if there is no complete version.
    """
    newest = find_version(path)
    children = [child.path for child in reversed(numbered_children(path)) if child.number >= 0]
    if newest not in children:  # the path is of a version
        return newest
    problems = []
    for version in children:
        found = content_problems(version, SAMPLED)
        if not found:
            return version
        problems.append(Problem("broken-version", str(version), found[0].text))
        say("skipped", problems[-1].text)
    raise VersionError(f"{path}: no version is complete", problems)
