"""The interface of what is measured: a model on a server, or the files of a version in a process of their own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import TracebackType
from typing import List, Optional, Sequence, Type

from ckpt2saved.requests.request import Answers, Request
from ckpt2saved.server_config.settings import ServerSettings
from ckpt2saved.signature.tensors import Signature

SERVER, LOADER = "server", "loader"  # drivers


@dataclass(frozen=True)
class Answered:
    """The measured facts of one request."""

    seconds: float  # from sending to the last byte of the answer
    lines: int  # items of the request: pictures, or rows of its batch
    bytes_sent: int  # of the body
    bytes_received: int
    failure: Optional[str] = None  # its kind, for example "timed out" or "HTTP 503"; None: answered


class Target(ABC):
    """A version that answers requests to one signature. Threads may share it."""

    name: str  # URL or path, for messages and tables
    driver: str  # SERVER or LOADER
    model: str
    version: Optional[int]  # None: unknown
    signature: Signature
    settings: ServerSettings = ServerSettings()  # None where unknown, as all of a server
    gpus: Optional[int] = None  # of the process; None: unknown, as of a server

    @abstractmethod
    def prepare(self, requests: Sequence[Request]) -> None:
        """Encode requests that will be sent often; without it, predict() does so within the measured time."""

    @abstractmethod
    def predict(self, request: Request) -> Answered:
        """Run a request and measure it; a failure of the model or the server is returned, not raised.

        Raises NotServable if the process of a version has ended, which no later request can change.
        """

    @abstractmethod
    def answers(self, request: Request) -> Answers:
        """Run a request, not measured; returns arrays by output key. Raises Ckpt2SavedError if it fails."""

    def recorded(self) -> Sequence[Request]:
        """The warm-up requests of the version for this signature; () where they are not known."""
        return ()

    @abstractmethod
    def close(self) -> None:
        """Close what is open; threads have ended before."""

    def __enter__(self) -> Target:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()


def labels_of(targets: Sequence[Target]) -> List[str]:
    """The names of targets, with the settings where several have the same name."""
    names = [target.name for target in targets]
    return [
        name if names.count(name) == 1 else f"{name} ({target.settings.text})" for name, target in zip(names, targets)
    ]


def lines_of(request: Request) -> int:
    """The items of a request: the first dimension of its inputs, 1 without one."""
    return max([value.shape[0] for value in request.inputs.values() if value.ndim], default=1)
