"""A model on a server as the target of a measurement, over REST or gRPC, with connections that stay open."""

from __future__ import annotations

import time
from typing import Dict, Optional, Sequence, Tuple

from ckpt2saved.client.address import ModelAddress
from ckpt2saved.client.connection import connect
from ckpt2saved.client.model_client import Client
from ckpt2saved.client.server import EncodedCall, PredictCall, Refused, TimedOut, Unreachable, outputs_of
from ckpt2saved.errors import ServerError
from ckpt2saved.requests.request import Answers, Request
from ckpt2saved.signature.tensors import Signature
from ckpt2saved.verification.speed.target import SERVER, Answered, Target, lines_of


class ServerTarget(Target):
    """A model on a running TF Serving. A request is sent once: a retry would hide a failure."""

    driver = SERVER

    def __init__(self, client: Client, signature: Signature, version: Optional[int], timeout: float) -> None:
        """`version` is the one that answers, None if the server does not say; `timeout` in seconds for each request.

        Raises ValueError for an output with a dtype that numpy lacks.
        """
        self._client = client
        self._address: ModelAddress = client.address
        self.name = str(client.address)
        self.model = client.address.model
        self.version = version
        self.signature = signature
        self._outputs = outputs_of(signature)
        self._timeout = timeout
        self._server = connect(client.address.server, keeps_connections=True)
        self._encoded: Dict[int, Tuple[Request, EncodedCall]] = {}  # by id; the request is kept, so that the id is its

    def prepare(self, requests: Sequence[Request]) -> None:
        """Encode the requests, which are kept."""
        for request in requests:
            if id(request) not in self._encoded:
                self._encoded[id(request)] = (request, self._server.encode(self._call(request)))

    def predict(self, request: Request) -> Answered:
        known = self._encoded.get(id(request))
        start = time.perf_counter()
        encoded = known[1] if known is not None else self._server.encode(self._call(request))
        try:
            received, failure = len(self._server.send(encoded, self._timeout)), None
        except ServerError as error:
            received, failure = 0, _kind(error)
        return Answered(
            seconds=time.perf_counter() - start,
            lines=lines_of(request),
            bytes_sent=len(encoded.body),
            bytes_received=received,
            failure=failure,
        )

    def answers(self, request: Request) -> Answers:
        return self._client.predict(request.signature, request.inputs)

    def close(self) -> None:
        self._server.close()

    def _call(self, request: Request) -> PredictCall:
        return PredictCall(
            model=self._address.model,
            version=self._address.version,
            signature=request.signature,
            inputs=request.inputs,
            outputs=self._outputs,
        )


def _kind(error: ServerError) -> str:
    """The kind of a failure, under which it is counted."""
    if isinstance(error, TimedOut):
        return "timed out"
    if isinstance(error, Unreachable):
        return "unreachable"
    return error.code if isinstance(error, Refused) else "not TF Serving"
