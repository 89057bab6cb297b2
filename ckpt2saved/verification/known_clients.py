"""Clients that know the signatures of one version, and must be able to use another one (`--compatible-with`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Mapping, Optional

from ckpt2saved.client.address import Address
from ckpt2saved.console.say import Say
from ckpt2saved.errors import BreaksClients
from ckpt2saved.saved_model.reading import read_signatures
from ckpt2saved.signature.tensors import Signature
from ckpt2saved.verification.differences import compare_signatures
from ckpt2saved.verification.named_versions import LIVE, NEWEST, Named, live_client, named_version
from ckpt2saved.versions.bases import Base, local_version

OPTION = "--compatible-with"


@dataclass(frozen=True)
class KnownClients:
    """The clients of a version or server with these signatures; `name` is used in messages, "" if there are none."""

    name: str = ""
    signatures: Mapping[str, Signature] = field(default_factory=dict)

    def check(self, directory: Path, what: str, say: Say) -> None:
        """Raise BreaksClients, with `what` as subject, if they could not use the SavedModel in `directory`."""
        problems, _ = compare_signatures(self.signatures, read_signatures(directory))
        if problems:
            raise BreaksClients(f"{what}: clients of {self.name} could not use it; nothing is published", problems)
        none = f"{OPTION} {NEWEST}: there is no version yet to compare with"
        say("clients", f"those of {self.name} can use it" if self.name else none)


def known_clients(
    given: Optional[Named], base: Base, server: Optional[Address], model_name: Optional[str]
) -> Optional[KnownClients]:
    """The clients of the version that is given as in named_version(), or `live` on the server.

    None if nothing is given. Raises UsageError, VersionError, ServingError and the errors of Client.
    """
    if given is None:
        return None
    if given == LIVE:
        client = live_client(base, server, model_name, OPTION)
        return KnownClients(str(client.address), client.signatures())
    version = named_version(given, base, OPTION)
    if version is None:
        return KnownClients()
    with local_version(version) as directory:
        return KnownClients(str(version), read_signatures(directory))
