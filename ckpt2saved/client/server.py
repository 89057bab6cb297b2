"""What can be asked of a running server, whichever way it is asked, and how that can fail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Dict, Mapping, Optional, Tuple

import numpy as np

from ckpt2saved.client.address import Address
from ckpt2saved.errors import ServerError

# The states of a version, in TF Serving's words.
START, LOADING, AVAILABLE, UNLOADING, END = "START", "LOADING", "AVAILABLE", "UNLOADING", "END"
OK = "OK"

STATUS_SECONDS = 10.0  # at most, for an answer about a version's state, which a server gives at once
_NO_GRPC_PORT = "its REST port, 8501 unless told otherwise, is asked with http://, its gRPC port, 8500, with grpc://"


@dataclass(frozen=True)
class VersionStatus:
    """What a server says about one version."""

    version: int
    state: str
    error_code: str = OK  # of a version that failed to load, in TensorFlow's words: NOT_FOUND, …
    error_message: str = ""

    @property
    def has_failed(self) -> bool:
        """Whether the server will never load it."""
        return self.state == END and self.error_code != OK


class Unreachable(Exception):
    """The server does not answer now, and may later: it is starting, or busy, or the network is down."""


class Unknown(Exception):
    """The server answers that it has no such model or version."""


class Refused(Exception):
    """The server answered a request with an error."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code  # HTTP 400, or gRPC's FAILED_PRECONDITION
        self.message = message


class NoServing(ServerError):
    """Something answers at the address, and it is no TF Serving, or not this API of it."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text}; {_NO_GRPC_PORT}")


@dataclass(frozen=True)
class Output:
    """An output as the signature has it."""

    key: str
    dtype: np.dtype  # object for strings


class Server:
    """A running TF Serving. Every call may raise Unreachable or NoServing."""

    address: Address

    def statuses(
        self, model: str, version: Optional[int] = None, timeout: float = STATUS_SECONDS
    ) -> Tuple[VersionStatus, ...]:
        """The state of a version, or of all that the server knows, the newest first; raises Unknown.

        `timeout`, in seconds, is for connecting, asking and the whole answer together, here and in predict().
        """
        raise NotImplementedError

    def predict(
        self,
        model: str,
        version: int,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Tuple[Output, ...],
        timeout: float,
    ) -> Dict[str, np.ndarray]:
        """What exactly this version answers, by output key; raises Refused."""
        raise NotImplementedError


class ServerUntil(Server):
    """A server that answers until one deadline for all that it is asked: each call gets what is left of it."""

    def __init__(self, server: Server, end: float, now: Callable[[], float]) -> None:
        self.address = server.address
        self._server = server
        self._end = end  # as `now` counts, in seconds
        self._now = now

    def statuses(
        self, model: str, version: Optional[int] = None, timeout: float = STATUS_SECONDS
    ) -> Tuple[VersionStatus, ...]:
        return self._server.statuses(model, version, self._left(timeout))

    def predict(
        self,
        model: str,
        version: int,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Tuple[Output, ...],
        timeout: float,
    ) -> Dict[str, np.ndarray]:
        return self._server.predict(model, version, signature, inputs, outputs, self._left(timeout))

    def _left(self, timeout: float) -> float:
        left = self._end - self._now()
        if left <= 0:
            raise Unreachable("the time of --timeout is over")
        return min(timeout, left)


def of_version(
    statuses: Tuple[VersionStatus, ...], version: Optional[int], address: Address
) -> Tuple[VersionStatus, ...]:
    """The statuses, if they are of the version that was asked for, or none was; raises NoServing."""
    others = sorted({status.version for status in statuses if version not in (None, status.version)})
    if others:
        raise NoServing(
            f"{address}: asked for version {version}, it answers with version {', '.join(map(str, others[:5]))}"
        )
    return statuses
