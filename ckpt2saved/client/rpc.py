"""A client of TF Serving's gRPC API; needs only the package grpcio."""

from __future__ import annotations

import contextlib
import os
import re
from typing import Any, Callable, Dict, Optional, Tuple

import numpy as np

from ckpt2saved.client.address import Address
from ckpt2saved.client.explanations import is_of_full_queue
from ckpt2saved.client.messages import (
    decode_metadata_response,
    decode_predict_response,
    decode_status_response,
    encode_metadata_request,
    encode_predict_request,
    encode_status_request,
)
from ckpt2saved.client.server import (
    STATUS_SECONDS,
    EncodedCall,
    Metadata,
    NoServing,
    PredictCall,
    Refused,
    RemoteServer,
    TimedOut,
    Unknown,
    Unreachable,
    VersionStatus,
    check_versions,
    of_version,
)
from ckpt2saved.console.foreign_text import one_line
from ckpt2saved.errors import ServerError
from ckpt2saved.files.protobuf import wire

# gRPC's handlers of a fork can end the process, in a check of its threads (grpc/grpc issues 31885, 39942, 40741). Only
# a child that goes on with gRPC and without exec needs them; a process that starts others by subprocess does not.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")

try:
    import grpc
except ModuleNotFoundError as error:
    if error.name != "grpc":
        raise
    raise ServerError(
        "grpc:// needs grpcio, and it is not in this Python: pip install 'ckpt2saved[serving]' installs it, and no "
        "TensorFlow; or ask the server's REST port, as in http://localhost:8501"
    ) from None

_MOST_BYTES = 256 << 20  # of a response
_LONGEST_SECONDS = 1e6  # below the maximum timeout of grpcio
_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
_METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"
_PREDICT = "/tensorflow.serving.PredictionService/Predict"
_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", _MOST_BYTES),  # default: 4 MB
    # No compression: older grpcio checks the size only after decompression. TF Serving compresses only on request.
    ("grpc.compression_enabled_algorithms_bitset", 1),
    ("grpc.enable_http_proxy", 0),  # like the REST client
]
# Error details of older and newer grpcio; the last pattern: UNAVAILABLE from a port that does not speak gRPC.
_COMPRESSED = re.compile(r"(?i)compression algorithm")
_TOO_LARGE = re.compile(r"(?i)received message (is )?larger than max")
_OTHER_PROTOCOL = re.compile(r"http1\.x server|Failed parsing HTTP/2")


class GrpcServer(RemoteServer):
    """TF Serving at grpc://, without TLS, as the images start it."""

    def __init__(self, address: Address, keeps_connections: bool = False) -> None:
        self.address = address
        self._channel = self._opened() if keeps_connections else None

    def statuses(
        self, model: str, version: Optional[int] = None, timeout: float = STATUS_SECONDS
    ) -> Tuple[VersionStatus, ...]:
        """ModelService.GetModelStatus."""
        try:
            found = self._ask(_STATUS, encode_status_request(model, version), timeout, decode_status_response)
        except Refused as error:
            if error.code == "NOT_FOUND":
                raise Unknown(error.message) from error
            raise
        return of_version(found, version, self.address)

    def metadata(self, model: str, version: Optional[int] = None, timeout: float = STATUS_SECONDS) -> Metadata:
        """PredictionService.GetModelMetadata."""
        try:
            found: Metadata = self._ask(
                _METADATA, encode_metadata_request(model, version), timeout, decode_metadata_response
            )
        except Refused as error:
            if error.code == "NOT_FOUND":
                raise Unknown(error.message) from error
            raise
        check_versions((found.version,), version, self.address)
        return found

    def encode(self, call: PredictCall) -> EncodedCall:
        """PredictionService.Predict."""
        return EncodedCall(_PREDICT, encode_predict_request(call))

    def send(self, encoded: EncodedCall, timeout: float) -> bytes:
        return self._answer(encoded.path, encoded.body, timeout)

    def decode(self, answer: bytes, call: PredictCall) -> Dict[str, np.ndarray]:
        keys = [output.key for output in call.outputs]
        found = self._decoded(answer, lambda message: decode_predict_response(message, keys))
        check_versions((found.version,), call.version, self.address)
        answered = found.outputs
        missing = [output.key for output in call.outputs if output.key not in answered]
        if missing:
            raise Refused("OK", f"the answer has no output {', '.join(map(repr, missing))}")
        return {output.key: answered[output.key] for output in call.outputs}

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()

    def _ask(self, method: str, request: bytes, timeout: float, decode: Callable[[bytes], Any]) -> Any:
        return self._decoded(self._answer(method, request, timeout), decode)

    def _answer(self, method: str, request: bytes, timeout: float) -> bytes:
        # A new channel for each call: a channel that could not connect waits longer before each further attempt.
        with contextlib.ExitStack() as stack:
            channel = self._channel or stack.enter_context(self._opened())
            try:
                call: Callable[..., bytes] = channel.unary_unary(method)
                return call(request, timeout=min(timeout, _LONGEST_SECONDS))
            except grpc.RpcError as error:
                raise self._failure(error.code(), one_line(error.details() or ""), timeout) from error

    def _opened(self) -> Any:
        return grpc.insecure_channel(str(self.address).partition("://")[2], options=_OPTIONS)

    def _decoded(self, answer: bytes, decode: Callable[[bytes], Any]) -> Any:
        try:
            return decode(answer)
        except (wire.Malformed, ValueError) as error:
            reason = str(error) or "cut off"
            raise NoServing(f"{self.address}: this is not a response of TF Serving: {reason}") from error

    def _failure(self, code: Any, details: str, timeout: float) -> Exception:
        if code == grpc.StatusCode.DEADLINE_EXCEEDED:
            return TimedOut(f"no response within {timeout:.3g} s")
        if _COMPRESSED.search(details):
            return NoServing(f"{self.address}: the response is compressed, which was not requested ({details})")
        if code == grpc.StatusCode.UNAVAILABLE and is_of_full_queue(details):
            return Refused(code.name, details)
        if code == grpc.StatusCode.UNAVAILABLE and not _OTHER_PROTOCOL.search(details):
            return Unreachable(
                f"no server to talk to ({details}); one that is starting opens its ports only when its first models are"
                " loaded",
                may_repeat=True,
            )
        if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNIMPLEMENTED):
            return NoServing(f"{self.address}: the server there has no gRPC API of TF Serving ({details})")
        if code == grpc.StatusCode.RESOURCE_EXHAUSTED and _TOO_LARGE.search(details):
            return NoServing(
                f"{self.address}: the answer is larger than the {_MOST_BYTES >> 20} MB that are read; ask for fewer"
                " rows at a time"
            )
        return Refused(code.name, details)
