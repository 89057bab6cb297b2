"""The version or server that a new version must not be worse than."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from ckpt2saved.answers.models import FileModel, Model, ServedModel
from ckpt2saved.client.model_client import Client
from ckpt2saved.errors import UsageError
from ckpt2saved.verification.named_versions import Named, named_version
from ckpt2saved.versions import parse_version
from ckpt2saved.versions.bases import Base
from ckpt2saved.versions.object_stores.url import VersionUrl


@dataclass(frozen=True)
class BaselineSource:
    """A model that answers the same pictures; `name` is used in messages."""

    name: str
    model: Model


def version_baseline(given: Named, base: Base, option: str) -> Optional[BaselineSource]:
    """The baseline for a version, given as in named_version(), which raises the same errors.

    Raises UsageError for a version in an object store.
    """
    directory = named_version(given, base, option)
    if directory is None:
        return None
    if isinstance(directory, VersionUrl):
        raise UsageError(
            f"{option} {given}: {directory} is in an object store, and its pictures would be read from there again and"
            " again; download the version, and pass its directory"
        )
    is_of_base = str(directory.parent) == str(base) and parse_version(directory.name) is not None
    return BaselineSource(f"version {directory.name}" if is_of_base else str(directory), FileModel(directory))


def live_baseline(client: Client) -> BaselineSource:
    """The version that a server answers from now; raises the errors of Client."""
    return BaselineSource(str(client.address), ServedModel(client))
