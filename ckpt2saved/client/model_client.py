"""The client of one model on a running TF Serving, for use in programs."""

from __future__ import annotations

import math
import random
from typing import Any, Callable, Dict, Iterator, Mapping, Optional, Tuple, TypeVar, Union

import numpy as np

from ckpt2saved.client.address import ModelAddress, parse_model_address
from ckpt2saved.client.clock import Clock
from ckpt2saved.client.connection import connect
from ckpt2saved.client.explanations import explained
from ckpt2saved.client.server import (
    Metadata,
    Output,
    PredictCall,
    Refused,
    Server,
    ServerUntil,
    Unknown,
    Unreachable,
    VersionStatus,
    outputs_of,
)
from ckpt2saved.errors import ServerError, UsageError
from ckpt2saved.requests.gathering import that_can_be_run
from ckpt2saved.requests.given import fitted
from ckpt2saved.signature.tensors import Signature

Result = TypeVar("Result")

TIMEOUT_SECONDS = 60.0
RETRIES = 3
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0  # seconds before a retry; each is twice as long as the one before


class Client:
    """A client of one model on a running TF Serving, over REST or gRPC, without TensorFlow.

    It holds no connection and needs no closing; threads may share it. Every call has one deadline for all that it
    sends. A request is sent again only if the server has not begun to answer it: the connection was refused, or the
    response is 503 or UNAVAILABLE.

    The calls raise Unreachable (TimedOut after the deadline), Unknown, Refused and NoServing, which are ServerErrors.
    """

    def __init__(
        self,
        url: Union[str, ModelAddress],
        model: str = "",
        *,
        timeout: float = TIMEOUT_SECONDS,
        retries: int = RETRIES,
        clock: Optional[Clock] = None,
    ) -> None:
        """`url` is http://HOST:8501/v1/models/NAME[/versions/N], or grpc://HOST:8500 with the same path.

        The path can be left out if `model` is given. `timeout` in seconds is for each call, retries included. Opens no
        connection. Raises ValueError for an invalid value, ServerError if grpcio is needed and not installed.
        """
        address = parse_model_address(url) if isinstance(url, str) else url
        self.address = address.named(model)
        self._server = connect(self.address.server)
        self._timeout = _checked(timeout)
        if retries < 0:
            raise ValueError(f"retries: {retries}, expected 0 or more")
        self._retries = retries
        self._clock = clock or Clock()
        self._metadata: Optional[Metadata] = None  # as last read

    def status(self, timeout: Optional[float] = None) -> Tuple[VersionStatus, ...]:
        """The state of each version of the model, newest first; of one version if the address names it."""
        model, version = self.address.model, self.address.version
        return self._ask(self._end(timeout), lambda server: server.statuses(model, version, math.inf))

    def signatures(self, timeout: Optional[float] = None) -> Dict[str, Signature]:
        """The signatures that the server answers now, by name, with keys, dtypes and shapes."""
        return that_can_be_run(self._read_metadata(self._end(timeout)).signatures)

    def version(self, timeout: Optional[float] = None) -> Optional[int]:
        """The version that answers now; None if the server does not say."""
        return self._read_metadata(self._end(timeout)).version

    def predict(
        self, signature: str, inputs: Mapping[str, Any], timeout: Optional[float] = None
    ) -> Dict[str, np.ndarray]:
        """Run a signature; returns arrays by output key, strings as bytes.

        `inputs` are arrays or lists by input key, for example {"image_bytes": [picture]}. Raises UsageError if the
        model has no such signature, or the inputs do not fit it.
        """
        end = self._end(timeout)
        earlier = self._metadata
        if earlier is None:
            return self._predicted(self._read_metadata(end), signature, inputs, end)
        try:
            return self._predicted(earlier, signature, inputs, end)
        except (Refused, UsageError):
            now = self._changed_metadata(earlier, end)
            if now is None:
                raise
        return self._predicted(now, signature, inputs, end)

    def _changed_metadata(self, earlier: Metadata, end: float) -> Optional[Metadata]:
        """The metadata if a version with other signatures was loaded meanwhile; None otherwise."""
        try:
            now = self._read_metadata(end)
        except ServerError:
            return None
        return None if now.signatures == earlier.signatures else now

    def _predicted(self, known: Metadata, name: str, inputs: Mapping[str, Any], end: float) -> Dict[str, np.ndarray]:
        signatures = that_can_be_run(known.signatures)
        if name not in signatures:
            raise UsageError(
                f"{self.address}: there is no signature {name}; expected one of {', '.join(signatures) or 'none'}"
            )
        signature = signatures[name]
        call = PredictCall(
            model=self.address.model,
            version=self.address.version,
            signature=name,
            inputs=fitted(signature, inputs, str(self.address)),
            outputs=self._outputs(signature),
        )
        return self._ask(end, lambda server: server.predict(call, math.inf), f"signature {name}: ")

    def _outputs(self, signature: Signature) -> Tuple[Output, ...]:
        try:
            return outputs_of(signature)
        except ValueError as error:
            raise UsageError(f"{self.address}: the outputs of {signature.name} can't be read: {error}") from error

    def _read_metadata(self, end: float) -> Metadata:
        model, version = self.address.model, self.address.version
        self._metadata = self._ask(end, lambda server: server.metadata(model, version, math.inf))
        return self._metadata

    def _end(self, timeout: Optional[float]) -> float:
        return self._clock.now() + (self._timeout if timeout is None else _checked(timeout))

    def _ask(self, end: float, ask: Callable[[Server], Result], what: str = "") -> Result:
        """The result of a request; its errors get the address, and an explanation if there is one."""
        try:
            return self._repeated(end, ask)
        except Unreachable as error:
            raise error.at(str(self.address)) from error
        except Unknown as error:
            raise Unknown(f"{self.address}: the server has no such model, or has not loaded it: {error}") from error
        except Refused as error:
            where = f"{self.address}: {what}the server responds with an error"
            raise Refused(error.code, explained(error.message), where) from error

    def _repeated(self, end: float, ask: Callable[[Server], Result]) -> Result:
        server = ServerUntil(self._server, end, self._clock.now)
        for pause in self._pauses():
            try:
                return ask(server)
            except (Unreachable, Refused) as error:
                if not error.may_repeat or self._clock.now() + pause >= end:
                    raise
            self._clock.sleep(pause)
        return ask(server)

    def _pauses(self) -> Iterator[float]:
        """Seconds before each retry; random, so that clients that failed together do not come back together."""
        for number in range(self._retries):
            yield min(_FIRST_PAUSE * 2**number, _LONGEST_PAUSE) * random.uniform(0.5, 1.0)


def _checked(timeout: float) -> float:
    if not 0 < timeout < math.inf:
        raise ValueError(f"timeout: {timeout} is not a positive number of seconds")
    return timeout
