"""Encode and decode the GetModelStatus, GetModelMetadata and Predict messages of TF Serving's gRPC API.

The package tensorflow-serving-api is not used: it requires the package `tensorflow`, and would install a second
TensorFlow beside the one of the training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Collection, Mapping, Optional, Tuple

import numpy as np

from ckpt2saved.client.server import AVAILABLE, END, LOADING, OK, START, UNLOADING, Metadata, PredictCall, VersionStatus
from ckpt2saved.console.foreign_text import one_line
from ckpt2saved.files.protobuf import serving_messages as serving
from ckpt2saved.files.protobuf.messages import Budget, decode, encode
from ckpt2saved.files.protobuf.tensor_proto import decode_tensor, encode_tensor
from ckpt2saved.files.protobuf.wire import of_bytes
from ckpt2saved.saved_model.reading import signature_of

_SIGNATURES = "signature_def"  # name of the part of a model's metadata
_STATES = {0: "UNKNOWN", 10: START, 20: LOADING, 30: AVAILABLE, 40: UNLOADING, 50: END}
CODES = (
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
    """A GetModelStatusRequest for one version, or for all."""
    return encode(serving.GetModelStatusRequest(model_spec=_model_spec(model, version)))


def encode_predict_request(call: PredictCall) -> bytes:
    """A PredictRequest; raises ValueError for a dtype that TensorProto cannot hold."""
    tensors = {key: of_bytes(encode_tensor(array)) for key, array in call.inputs.items()}
    return encode(
        serving.PredictRequest(model_spec=_model_spec(call.model, call.version, call.signature), inputs=tensors)
    )


def decode_status_response(message: bytes) -> Tuple[VersionStatus, ...]:
    """Decode a GetModelStatusResponse; raises wire.Malformed, or ValueError if it is too large."""
    response = decode(serving.GetModelStatusResponse, of_bytes(message), Budget())
    return tuple(_version_status(status) for status in response.model_version_status)


@dataclass(frozen=True)
class PredictResponse:
    """The outputs by key, and the version in the response; None if the response names none."""

    outputs: Mapping[str, np.ndarray]
    version: Optional[int]


def encode_metadata_request(model: str, version: Optional[int]) -> bytes:
    """A GetModelMetadataRequest for the signatures of a version."""
    return encode(serving.GetModelMetadataRequest(model_spec=_model_spec(model, version), metadata_field=[_SIGNATURES]))


def decode_metadata_response(message: bytes) -> Metadata:
    """Decode a GetModelMetadataResponse; raises wire.Malformed, or ValueError without signatures or if too large."""
    response = decode(serving.GetModelMetadataResponse, of_bytes(message), Budget())
    packed = response.metadata.get(_SIGNATURES)
    if packed is None or packed.value is None:
        raise ValueError("it has no signatures")
    found = decode(serving.SignatureDefMap, packed.value, Budget())
    signatures = {name: signature_of(name, one) for name, one in found.signature_def.items()}
    return Metadata(_version(response.model_spec), signatures)


def decode_predict_response(message: bytes, keys: Collection[str]) -> PredictResponse:
    """Decode these outputs of a PredictResponse; raises wire.Malformed, or ValueError if it is too large."""
    budget = Budget()
    response = decode(serving.PredictResponse, of_bytes(message), budget)
    outputs = {key: decode_tensor(tensor.content(), budget) for key, tensor in response.outputs.items() if key in keys}
    return PredictResponse(outputs, _version(response.model_spec))


def _version(spec: Optional[serving.ModelSpec]) -> Optional[int]:
    return None if spec is None or spec.version is None else spec.version.value


def _model_spec(model: str, version: Optional[int], signature: str = "") -> serving.ModelSpec:
    number = None if version is None else serving.Int64Value(version)
    return serving.ModelSpec(name=model, version=number, signature_name=signature)


def _version_status(status: serving.ModelVersionStatus) -> VersionStatus:
    error = status.status or serving.StatusProto()
    code = error.error_code
    name = CODES[code] if 0 <= code < len(CODES) else f"code {code}"
    return VersionStatus(
        status.version, _STATES.get(status.state, f"state {status.state}"), name, one_line(error.error_message)
    )
