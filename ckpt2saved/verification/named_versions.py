"""Versions that options name: the newest one, that of a server, a number, or a directory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Optional, Union

from ckpt2saved.client.address import Address, ModelAddress
from ckpt2saved.errors import UsageError, VersionError
from ckpt2saved.versions import find_complete_version, find_version, numbered_children, parse_version
from ckpt2saved.versions.base import loaded_version

if TYPE_CHECKING:  # slow to import
    from ckpt2saved.client.model_client import Client

NEWEST, LIVE = "newest", "live"

Named = Union[str, int, Path]


def named_version(given: Named, base: Path, option: str) -> Optional[Path]:
    """The directory for `newest`, a version number in `base`, or the path of a version.

    None for `newest` if the base has no version. Raises UsageError, which names the `option`, if there is no such
    version, VersionError if there are versions but none is complete.
    """
    if given == NEWEST:
        if not any(child.number >= 0 for child in numbered_children(base)):
            return None
        return find_complete_version(base)
    number = parse_version(given) if isinstance(given, str) else given if isinstance(given, int) else None
    if number is not None:
        try:
            return loaded_version(base, number)
        except VersionError as error:
            raise UsageError(f"{option} {given}: {error}") from error
    if not os.path.isdir(str(given)):
        expected = f"expected {NEWEST}, {LIVE}, a version number in {base}, or the directory of a version"
        raise UsageError(f"{option} {given}: there is no such directory; {expected}")
    return find_version(Path(str(given)))


def live_client(base: Path, server: Optional[Address], model_name: Optional[str], option: str) -> Client:
    """A client of the model on the server; raises UsageError, which names the `option`, without a server.

    The model's name is by default that of the base directory.
    """
    if server is None:
        raise UsageError(f"{option} {LIVE}: only with the address of a server: --server URL or --wait-for URL")
    from ckpt2saved.client.model_client import Client

    return Client(ModelAddress(server, model_name or Path(os.path.abspath(str(base))).name))
