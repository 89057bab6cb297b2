"""Open what is measured, and choose the signature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping, Optional, Union

from ckpt2saved.client.address import ModelAddress, parse_model_place
from ckpt2saved.client.model_client import TIMEOUT_SECONDS, Client
from ckpt2saved.errors import UsageError
from ckpt2saved.files.reading import PathLike
from ckpt2saved.requests.pictures import TEXT
from ckpt2saved.signature.tensors import DEFAULT_SIGNATURE, Signature
from ckpt2saved.verification.speed.server_target import ServerTarget
from ckpt2saved.verification.speed.target import Target


@dataclass(frozen=True)
class Opening:
    """How the targets are opened."""

    signature: Optional[str] = None  # None: `text`, or serving_default, or the only one
    model_name: Optional[str] = None  # None: as in the address
    timeout: float = TIMEOUT_SECONDS  # of each request


def open_target(place: Union[PathLike, ModelAddress], options: Opening) -> Target:
    """The target at a place: the address of a model, or a version; raises UsageError, and the errors of a Client."""
    try:
        found = parse_model_place(place) if isinstance(place, str) else place
        if not isinstance(found, ModelAddress):
            raise UsageError(f"{found}: expected the address of a model on a server")
        client = Client(found, options.model_name or "", timeout=options.timeout)
    except ValueError as error:
        raise UsageError(str(error)) from error
    version = client.version()
    signature = chosen_signature(client.signatures(), options.signature, str(client.address))
    try:
        return ServerTarget(client, signature, version, options.timeout)
    except ValueError as error:
        raise UsageError(f"{client.address}: the outputs of {signature.name} can't be read: {error}") from error


def chosen_signature(signatures: Mapping[str, Signature], requested: Optional[str], where: str) -> Signature:
    """The requested signature, or `text`, or serving_default, or the only one; raises UsageError."""
    names = [name for name in sorted(signatures) if not signatures[name].is_for_warmup]
    if requested is None:
        for name in (TEXT, DEFAULT_SIGNATURE, *(names if len(names) == 1 else ())):
            if name in names:
                return signatures[name]
        raise UsageError(f"{where}: choose a signature with --signature: {', '.join(names) or 'it has none'}")
    if requested not in names:
        raise UsageError(f"--signature {requested}: {where} has {', '.join(names) or 'no signature'}")
    return signatures[requested]
