"""The interface of the REST and gRPC clients, and their errors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Callable, Dict, Iterable, Mapping, Optional, Tuple

import numpy as np

from ckpt2saved.client.address import Address
from ckpt2saved.errors import ServerError
from ckpt2saved.files.protobuf.data_types import numpy_dtype
from ckpt2saved.signature.tensors import Signature

# The states of a version, as TF Serving names them.
START, LOADING, AVAILABLE, UNLOADING, END = "START", "LOADING", "AVAILABLE", "UNLOADING", "END"
OK = "OK"

STATUS_SECONDS = 10.0  # timeout of a status request, which a server answers at once
_BUSY = ("HTTP 503", "UNAVAILABLE")
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


class Unreachable(ServerError):
    """The server does not respond now, but may later: it is starting or busy, or the network is down."""

    def __init__(self, text: str, *, may_repeat: bool = False) -> None:
        super().__init__(text)
        self.may_repeat = may_repeat  # the server has not begun to answer, so that the request can be sent once more

    def at(self, where: str) -> Unreachable:
        """The same error with the address in its message."""
        return self.__class__(f"{where}: {self}", may_repeat=self.may_repeat)


class TimedOut(Unreachable):
    """The server did not respond before the deadline. It may still work on the request."""


class Unknown(ServerError):
    """The server does not know the model or version."""


class Refused(ServerError):
    """The server responded with an error."""

    def __init__(self, code: str, message: str, where: str = "") -> None:
        super().__init__(f"{where}: {code}: {message}" if where else f"{code}: {message}")
        self.code = code  # for example HTTP 400, or FAILED_PRECONDITION of gRPC
        self.message = message

    @property
    def may_repeat(self) -> bool:
        """Whether the server was too busy to begin, so that the request can be sent once more."""
        return self.code in _BUSY


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
    """What a Predict request asks of a server: a model, one signature, these outputs."""

    model: str
    version: Optional[int]  # None: the one that the server chooses, by default the newest
    signature: str
    inputs: Mapping[str, np.ndarray]  # by input key
    outputs: Tuple[Output, ...]


def outputs_of(signature: Signature) -> Tuple[Output, ...]:
    """All outputs of a signature; raises ValueError for a dtype that numpy lacks."""
    return tuple(Output(tensor.key, numpy_dtype(tensor.dtype)) for tensor in signature.outputs)


@dataclass(frozen=True)
class Metadata:
    """What a server reports about a version of a model."""

    version: Optional[int]  # None if the server does not report it
    signatures: Mapping[str, Signature]  # by name, with those that TensorFlow adds


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
    def metadata(self, model: str, version: Optional[int] = None, timeout: float = STATUS_SECONDS) -> Metadata:
        """The signatures of a version, None: of the one that answers requests; raises Unknown or Refused."""

    @abstractmethod
    def predict(self, call: PredictCall, timeout: float) -> Dict[str, np.ndarray]:
        """Run a signature; returns arrays by output key. Raises Refused."""


@dataclass(frozen=True)
class EncodedCall:
    """A Predict request as it is sent: the path in the REST API, or the method of gRPC, and the body."""

    path: str
    body: bytes


class RemoteServer(Server):
    """A server at an address, whose requests can be encoded once and sent often."""

    def predict(self, call: PredictCall, timeout: float) -> Dict[str, np.ndarray]:
        return self.decode(self.send(self.encode(call), timeout), call)

    @abstractmethod
    def encode(self, call: PredictCall) -> EncodedCall:
        """The request as it is sent; raises ValueError for a dtype that cannot be sent."""

    @abstractmethod
    def send(self, encoded: EncodedCall, timeout: float) -> bytes:
        """Send a request; returns the body of a successful response, not decoded. Raises Refused."""

    @abstractmethod
    def decode(self, answer: bytes, call: PredictCall) -> Dict[str, np.ndarray]:
        """The arrays of a response by output key; raises Refused if it has others."""

    @abstractmethod
    def close(self) -> None:
        """Close the connections that were kept open."""


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

    def metadata(self, model: str, version: Optional[int] = None, timeout: float = STATUS_SECONDS) -> Metadata:
        return self._server.metadata(model, version, self._left(timeout))

    def predict(self, call: PredictCall, timeout: float) -> Dict[str, np.ndarray]:
        return self._server.predict(call, self._left(timeout))

    def _left(self, timeout: float) -> float:
        left = self._end - self._now()
        if left <= 0:
            raise TimedOut("the time limit (--timeout) is over")
        return min(timeout, left)


def of_version(
    statuses: Tuple[VersionStatus, ...], version: Optional[int], address: Address
) -> Tuple[VersionStatus, ...]:
    """The statuses; raises NoServing if `version` is given and one of them is of another version."""
    check_versions((status.version for status in statuses), version, address)
    return statuses


def check_versions(found: Iterable[Optional[int]], version: Optional[int], address: Address) -> None:
    """Raise NoServing if `version` is given and one of the versions in a response is another; None is unknown."""
    others = sorted({number for number in found if number is not None and version not in (None, number)})
    if others:
        raise NoServing(
            f"{address}: requested version {version}, but the response is from version"
            f" {', '.join(map(str, others[:5]))}"
        )
