"""The messages of TF Serving's gRPC API: GetModelStatus and Predict, written and read without its Python package.

That package, tensorflow-serving-api, requires the package `tensorflow`, and so would put a second TensorFlow beside the
one of the training.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import BinaryIO, Collection, Iterator, Mapping, Optional, Tuple

import numpy as np

from ckpt2saved.client.server import AVAILABLE, END, LOADING, OK, START, UNLOADING, VersionStatus
from ckpt2saved.console.foreign_text import one_line
from ckpt2saved.protobuf import wire
from ckpt2saved.protobuf.tensor_proto import Budget, decode_tensor, encode_tensor
from ckpt2saved.protobuf.wire import written

# Fields of the messages ModelSpec, Int64Value, PredictRequest, PredictResponse, GetModelStatusRequest,
# GetModelStatusResponse, ModelVersionStatus and StatusProto, and of an entry of a map.
_MODEL_NAME, _MODEL_VERSION, _SIGNATURE_NAME = 1, 2, 3
_VALUE_OF_INT64 = 1
_MODEL_SPEC = 1
_INPUTS = 2
_OUTPUTS, _ANSWERED_BY = 1, 2  # the latter is the ModelSpec of what answered
_VERSION_STATUS = 1
_VERSION, _STATE, _STATUS = 1, 2, 3
_ERROR_CODE, _ERROR_MESSAGE = 1, 2
_KEY, _VALUE = 1, 2

_STATES = {0: "UNKNOWN", 10: START, 20: LOADING, 30: AVAILABLE, 40: UNLOADING, 50: END}
_CODES = (
    OK,
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)


def encode_status_request(model: str, version: Optional[int]) -> bytes:
    """A GetModelStatusRequest for a version, or for all."""
    return written(_MODEL_SPEC, _model_spec(model, version))


def encode_predict_request(model: str, version: int, signature: str, inputs: Mapping[str, np.ndarray]) -> bytes:
    """A PredictRequest; raises ValueError for a dtype that has no place in it."""
    message = written(_MODEL_SPEC, _model_spec(model, version, signature))
    for key in sorted(inputs):
        message += written(_INPUTS, written(_KEY, key.encode()) + written(_VALUE, encode_tensor(inputs[key])))
    return message


def decode_status_response(message: bytes) -> Tuple[VersionStatus, ...]:
    """What a GetModelStatusResponse says; raises wire.Malformed, or ValueError where it is too large."""
    file, budget = io.BytesIO(message), Budget()
    spans = _each(file, (0, len(message)), _VERSION_STATUS, budget)
    return tuple(_version_status(file, span, budget) for span in spans)


@dataclass(frozen=True)
class PredictResponse:
    """The outputs by their keys, and which version the server says has answered; None where it does not say."""

    outputs: Mapping[str, np.ndarray]
    version: Optional[int]


def decode_predict_response(message: bytes, keys: Collection[str]) -> PredictResponse:
    """What a PredictResponse holds of these outputs; raises wire.Malformed, or ValueError where it is too large."""
    file, budget = io.BytesIO(message), Budget()
    outputs, version = {}, None
    for number, span in budget.fields(file, (0, len(message))):
        if number == _OUTPUTS:
            parts = dict(budget.fields(file, span))
            key = wire.text(file, parts[_KEY]) if _KEY in parts else ""
            if key in keys:
                value = wire.content(file, parts.get(_VALUE, (span[1], span[1])))
                outputs[key] = decode_tensor(value, budget)
        elif number == _ANSWERED_BY:
            for at in _each(file, span, _MODEL_VERSION, budget):
                versions = [wire.integer(file, place) for place in _each(file, at, _VALUE_OF_INT64, budget)]
                version = versions[-1] if versions else 0
    return PredictResponse(outputs, version)


def _model_spec(model: str, version: Optional[int], signature: str = "") -> bytes:
    message = written(_MODEL_NAME, model.encode("utf-8", "surrogateescape"))
    if version is not None:
        message += written(_MODEL_VERSION, written(_VALUE_OF_INT64, version))
    return message + (written(_SIGNATURE_NAME, signature.encode()) if signature else b"")


def _version_status(file: BinaryIO, span: wire.Span, budget: Budget) -> VersionStatus:
    version, state, code, text = 0, 0, 0, ""
    for number, at in budget.fields(file, span):
        if number == _VERSION:
            version = wire.integer(file, at)
        elif number == _STATE:
            state = wire.integer(file, at)
        elif number == _STATUS:
            for inner, place in budget.fields(file, at):
                if inner == _ERROR_CODE:
                    code = wire.integer(file, place)
                elif inner == _ERROR_MESSAGE:
                    text = wire.text(file, place)
    name = _CODES[code] if 0 <= code < len(_CODES) else f"code {code}"
    return VersionStatus(version, _STATES.get(state, f"state {state}"), name, one_line(text))


def _each(file: BinaryIO, span: wire.Span, number: int, budget: Budget) -> Iterator[wire.Span]:
    for found, at in budget.fields(file, span):
        if found == number:
            yield at
