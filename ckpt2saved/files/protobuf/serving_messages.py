"""TF Serving's protobuf messages: the fields that are read or written, named as in its .proto files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Optional

from ckpt2saved.files.protobuf.messages import each_nested, integer, mapped, mapped_unread, nested, text, texts
from ckpt2saved.files.protobuf.tensorflow_messages import AnyMessage, SignatureDef
from ckpt2saved.files.protobuf.wire import Part


@dataclass
class Int64Value:
    """google.protobuf.Int64Value."""

    value: int = integer(1)


@dataclass
class ModelSpec:
    """The model of a request or response."""

    name: str = text(1)
    version: Optional[Int64Value] = nested(2, Int64Value)
    signature_name: str = text(3)


@dataclass
class PredictRequest:
    """A predict request; its inputs are TensorProtos."""

    model_spec: Optional[ModelSpec] = nested(1, ModelSpec)
    inputs: Dict[str, Part] = mapped_unread(2)
    output_filter: List[str] = texts(3)


@dataclass
class PredictResponse:
    """A predict response; its outputs are TensorProtos."""

    outputs: Dict[str, Part] = mapped_unread(1)
    model_spec: Optional[ModelSpec] = nested(2, ModelSpec)


@dataclass
class GetModelStatusRequest:
    """A request for the status of a model's versions."""

    model_spec: Optional[ModelSpec] = nested(1, ModelSpec)


@dataclass
class GetModelMetadataRequest:
    """A request for metadata of a model, for example its signatures."""

    model_spec: Optional[ModelSpec] = nested(1, ModelSpec)
    metadata_field: List[str] = texts(2)


@dataclass
class GetModelMetadataResponse:
    """The metadata of a model by the name of the field."""

    model_spec: Optional[ModelSpec] = nested(1, ModelSpec)
    metadata: Dict[str, AnyMessage] = mapped(2, AnyMessage)


@dataclass
class SignatureDefMap:
    """The signatures of a model by name."""

    signature_def: Dict[str, SignatureDef] = mapped(1, SignatureDef)


@dataclass
class StatusProto:
    """A status code with an error message."""

    error_code: int = integer(1)
    error_message: str = text(2)


@dataclass
class ModelVersionStatus:
    """The state of a version on a server."""

    version: int = integer(1)
    state: int = integer(2)
    status: Optional[StatusProto] = nested(3, StatusProto)


@dataclass
class GetModelStatusResponse:
    """The states of a model's versions."""

    model_version_status: List[ModelVersionStatus] = each_nested(1, ModelVersionStatus)


@dataclass
class PredictLog:
    """A recorded predict request."""

    request: Optional[PredictRequest] = nested(1, PredictRequest)


@dataclass
class PredictionLog:
    """A record of a warm-up file; only predict requests are read."""

    predict_log: Optional[PredictLog] = nested(6, PredictLog)
