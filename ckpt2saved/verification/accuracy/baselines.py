"""The version or server that a new version must not be worse than."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Union

from ckpt2saved.answers.models import FileModel, Model, ServedModel
from ckpt2saved.client.model_client import Client
from ckpt2saved.errors import UsageError, VersionError
from ckpt2saved.versions import find_complete_version, find_version, numbered_children, parse_version
from ckpt2saved.versions.base import loaded_version

NEWEST, LIVE = "newest", "live"


@dataclass(frozen=True)
class BaselineSource:
    """A model that answers the same pictures; `name` is used in messages."""

    name: str
    model: Model


def version_baseline(given: Union[str, int, Path], base: Path) -> Optional[BaselineSource]:
    """The baseline for `newest`, a version number in `base`, or the path of a version.

    None for `newest` if the base has no version. Raises UsageError if there is no such version, VersionError if there
    are versions but none is complete.
    """
    if given == NEWEST:
        if not any(child.number >= 0 for child in numbered_children(base)):
            return None
        newest = find_complete_version(base)
        return BaselineSource(f"version {newest.name}", FileModel(newest))
    number = parse_version(given) if isinstance(given, str) else given if isinstance(given, int) else None
    if number is not None:
        try:
            return BaselineSource(f"version {number}", FileModel(loaded_version(base, number)))
        except VersionError as error:
            raise UsageError(f"--not-worse-than {given}: {error}") from error
    if not os.path.isdir(str(given)):
        expected = f"expected {NEWEST}, {LIVE}, a version number in {base}, or the directory of a version"
        raise UsageError(f"--not-worse-than {given}: there is no such directory; {expected}")
    directory = find_version(Path(str(given)))
    return BaselineSource(str(directory), FileModel(directory))


def live_baseline(client: Client) -> BaselineSource:
    """The version that a server answers from now; raises the errors of Client."""
    return BaselineSource(str(client.address), ServedModel(client))
