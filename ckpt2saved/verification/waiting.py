"""The options about a server, and the wait until it serves a published version."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Callable, Collection, Optional, Sequence, Tuple, TypeVar

from ckpt2saved.answers.probing import Probing
from ckpt2saved.answers.server_asker import Target
from ckpt2saved.answers.server_requests import ServerRequests, requests_without_answers
from ckpt2saved.client.connection import ServerAddress, server_at
from ckpt2saved.client.server import Server
from ckpt2saved.client.waiting import TIMEOUT_SECONDS
from ckpt2saved.console.say import Say
from ckpt2saved.errors import Ckpt2SavedError, StrayOptions, UsageError
from ckpt2saved.requests.gathering import served_signatures
from ckpt2saved.requests.request import Request
from ckpt2saved.saved_model.reading import SavedModelFile
from ckpt2saved.verification.live import check_live
from ckpt2saved.versions import parse_version
from ckpt2saved.versions.bases import local_version

VersionT = TypeVar("VersionT", bound=Any)  # Exported or Republished


@dataclass(frozen=True)
class ServerOptions:
    """The options about a version on a server."""

    address: Optional[ServerAddress] = None
    timeout: float = TIMEOUT_SECONDS
    model_name: Optional[str] = None  # None: name of the base directory
    probe_signatures: Sequence[str] = ()
    batched: Optional[bool] = None


@dataclass(frozen=True)
class LiveCheck:
    """Checks whether a server serves a version, and answers as its files do."""

    server: Server
    options: ServerOptions

    @classmethod
    def of(cls, options: ServerOptions, option: str, *, other: bool = False) -> Optional[LiveCheck]:
        """None without an address, which `option` gives; opens no connection.

        Raises StrayOptions for options that need the address; the name of the model may also be meant for an `other`
        server. Raises ServerError if grpcio is needed and not installed.
        """
        server = server_at(options.address, option)
        if server is not None:
            return cls(server, options)
        given = [one.name for one in fields(options) if getattr(options, one.name) != one.default]
        stray = [name for name in given if name != "timeout" and not (other and name == "model_name")]
        if stray:
            raise StrayOptions(stray[:1], "the address of a server")
        return None

    def check_signatures(self, known: Collection[str]) -> None:
        """Raise UsageError for a signature to send requests for that is not in `known`."""
        for name in self.options.probe_signatures:
            if name not in known:
                raise UsageError(
                    f"--probe-signature {name}: there is no such signature; expected one of"
                    f" {', '.join(sorted(known)) or 'none'}"
                )

    def check_signatures_of(self, directory: Path) -> None:
        """As check_signatures, with those of the SavedModel in `directory`."""
        self.check_signatures(served_signatures(SavedModelFile(directory)))

    def target(self, directory: Path) -> Target:
        """The version in `directory` on the server; raises UsageError if no server can serve it."""
        absolute = Path(os.path.abspath(str(directory)))
        number = parse_version(absolute.name)
        if number is None:
            raise UsageError(f"{directory}: its name is not a version number, so no server can serve it")
        return Target(
            server=self.server,
            model=self.options.model_name or absolute.parent.name,
            version=number,
            directory=directory,
            timeout=self.options.timeout,
            probing=Probing(tuple(dict.fromkeys(self.options.probe_signatures)), self.options.batched),
        )

    def awaited(self, version: VersionT, say: Say, known: Tuple[Request, ...] = ()) -> VersionT:
        """Wait for a published version, and compare the answers with those of its files if TensorFlow is installed.

        `known` are requests that the files are known to answer. Returns the version with the report as its `server`.
        Raises NotLive, or ServerError if no TF Serving responds, with the version as `version`.
        """
        try:
            with local_version(version.path, say) as directory:
                report = check_live(self.target(directory), _requests_of(directory, known), say=say)
            version = replace(version, server=report)
            report.raise_if_not_live()
        except Ckpt2SavedError as error:
            error.version = version
            raise
        return version


def _requests_of(directory: Path, known: Tuple[Request, ...]) -> Callable[[], ServerRequests]:
    def prepare() -> ServerRequests:
        if not _has_tensorflow():
            why = "that needs TensorFlow, which is not installed in this Python"
            return requests_without_answers(directory, why)
        from ckpt2saved.answers.file_answers import requests_with_answers

        return requests_with_answers(directory, known=known)

    return prepare


def _has_tensorflow() -> bool:
    """Whether TensorFlow is installed; does not import it."""
    from importlib.util import find_spec

    # find_spec fails for TensorFlow 1.14 if it is already imported.
    return sys.modules.get("tensorflow") is not None or find_spec("tensorflow") is not None
