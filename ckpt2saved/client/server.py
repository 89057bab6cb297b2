"""The interface of the REST and gRPC clients, and their errors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Callable, Dict, Mapping, Optional, Tuple

import numpy as np

from ckpt2saved.client.address import Address
from ckpt2saved.errors import ServerError

# The states of a version, as TF Serving names them.
START, LOADING, AVAILABLE, UNLOADING, END = "START", "LOADING", "AVAILABLE", "UNLOADING", "END"
OK = "OK"

STATUS_SECONDS = 10.0  # timeout of a status request, which a server answers at once
_NO_GRPC_PORT = "its REST port, 8501 unless told otherwise, is asked with http://, its gRPC port, 8500, with grpc://"


@dataclass(frozen=True)
class VersionStatus:
    """The state of one version, as the server reports it."""

    version: int
    state: str
    error_code: str = OK  # if the version failed to load: the TensorFlow error code, for example NOT_FOUND
    error_message: str = ""

    @property
    def has_failed(self) -> bool:
        """Whether the version failed to load for good."""
        return self.state == END and self.error_code != OK


class Unreachable(Exception):
    """The server does not respond now, but may later: it is starting or busy, or the network is down."""


class Unknown(Exception):
    """The server does not know the model or version."""


class Refused(Exception):
    """The server responded with an error."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code  # for example HTTP 400, or FAILED_PRECONDITION of gRPC
        self.message = message


class NoServing(ServerError):
    """The address responds, but is not this API of TF Serving."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text}; {_NO_GRPC_PORT}")


@dataclass(frozen=True)
class Output:
    """Key and dtype of an output of the signature."""

    key: str
    dtype: np.dtype  # object for strings


@dataclass(frozen=True)
class PredictCall:
    """What a Predict request asks of a server: exactly this version of a model, one signature, these outputs."""

    model: str
    version: int
    signature: str
    inputs: Mapping[str, np.ndarray]  # by input key
    outputs: Tuple[Output, ...]


class Server(ABC):
    """A client of a running TF Serving. Every call may raise Unreachable or NoServing."""

    address: Address

    @abstractmethod
    def statuses(
        self, model: str, version: Optional[int] = None, timeout: float = STATUS_SECONDS
    ) -> Tuple[VersionStatus, ...]:
        """The state of one version, or of all versions of the model, newest first; raises Unknown.

        `timeout` in seconds covers connecting, sending and receiving, here and in predict().
        """

    @abstractmethod
    def predict(self, call: PredictCall, timeout: float) -> Dict[str, np.ndarray]:
        """Run a signature of exactly this version; returns arrays by output key. Raises Refused."""


class ServerUntil(Server):
    """A server with one deadline for all calls: the timeout of each call is the remaining time."""

    def __init__(self, server: Server, end: float, now: Callable[[], float]) -> None:
        self.address = server.address
        self._server = server
        self._end = end  # seconds, on the clock of `now`
        self._now = now

    def statuses(
        self, model: str, version: Optional[int] = None, timeout: float = STATUS_SECONDS
    ) -> Tuple[VersionStatus, ...]:
        return self._server.statuses(model, version, self._left(timeout))

    def predict(self, call: PredictCall, timeout: float) -> Dict[str, np.ndarray]:
        return self._server.predict(call, self._left(timeout))

    def _left(self, timeout: float) -> float:
        left = self._end - self._now()
        if left <= 0:
            raise Unreachable("the time of --timeout is over")
        return min(timeout, left)


def of_version(
    statuses: Tuple[VersionStatus, ...], version: Optional[int], address: Address
) -> Tuple[VersionStatus, ...]:
    """The statuses; raises NoServing if `version` is given and one of them is of another version."""
    others = sorted({status.version for status in statuses if version not in (None, status.version)})
    if others:
        raise NoServing(
            f"{address}: requested version {version}, but the response is from version"
            f" {', '.join(map(str, others[:5]))}"
        )
    return statuses
