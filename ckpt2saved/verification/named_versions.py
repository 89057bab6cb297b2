"""Versions that options name: the newest one, that of a server, a number, or a directory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Optional, Union

from ckpt2saved.client.address import Address, ModelAddress
from ckpt2saved.errors import UsageError, VersionError
from ckpt2saved.versions import find_version, parse_version
from ckpt2saved.versions.bases import Base
from ckpt2saved.versions.object_stores.downloads import version_url
from ckpt2saved.versions.object_stores.url import VersionPlace, is_store_url

if TYPE_CHECKING:  # slow to import
    from ckpt2saved.client.model_client import Client

NEWEST, LIVE = "newest", "live"

Named = Union[str, int, Path]


def named_version(given: Named, base: Base, option: str) -> Optional[VersionPlace]:
    """The place for `newest`, a version number in `base`, or the path or URL of a version.

    None for `newest` if the base has no version. Raises UsageError, which names the `option`, if there is no such
    version, VersionError if there are versions but none is complete.
    """
    if given == NEWEST:
        return base.newest_complete()
    number = parse_version(given) if isinstance(given, str) else given if isinstance(given, int) else None
    if number is not None:
        try:
            return base.version(number)
        except VersionError as error:
            raise UsageError(f"{option} {given}: {error}") from error
    if is_store_url(given):
        return version_url(str(given))
    if not os.path.isdir(str(given)):
        expected = f"expected {NEWEST}, {LIVE}, a version number in {base}, or the directory of a version"
        raise UsageError(f"{option} {given}: there is no such directory; {expected}")
    return find_version(Path(str(given)))


def live_client(base: Base, server: Optional[Address], model_name: Optional[str], option: str) -> Client:
    """A client of the model on the server; raises UsageError, which names the `option`, without a server.

    The model's name is by default that of the base directory.
    """
    if server is None:
        raise UsageError(f"{option} {LIVE}: only with the address of a server: --server URL or --wait-for URL")
    from ckpt2saved.client.model_client import Client

    return Client(ModelAddress(server, model_name or base.name))
