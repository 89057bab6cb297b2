"""Read the signatures of a model from the JSON of TF Serving's REST API."""

from __future__ import annotations

import re
from typing import Any, Dict, Mapping

from ckpt2saved.client.server import Metadata
from ckpt2saved.files.protobuf.data_types import number_of
from ckpt2saved.files.protobuf.tensorflow_messages import Dim, SignatureDef, TensorInfo, TensorShape
from ckpt2saved.saved_model.reading import signature_of

_PREFIX = "DT_"
# Names of the proto's data types that differ from those of TensorFlow's Python API.
_RENAMED = {"float": "float32", "double": "float64", "half": "float16"}
_INTEGER = re.compile(r"-?[0-9]{1,19}\Z")  # int64 is a string in the JSON of protobuf


def metadata_from_json(content: Mapping[str, Any]) -> Metadata:
    """The metadata of a response; raises ValueError, KeyError, TypeError or AttributeError if it is something else."""
    version = (content.get("model_spec") or {}).get("version")
    signatures = content["metadata"]["signature_def"]["signature_def"]
    return Metadata(
        None if version is None else _integer(version),
        {name: signature_of(name, _definition(one)) for name, one in signatures.items()},
    )


def _definition(content: Mapping[str, Any]) -> SignatureDef:
    method = content.get("method_name") or ""
    return SignatureDef(
        inputs=_tensors(content.get("inputs") or {}),
        outputs=_tensors(content.get("outputs") or {}),
        method_name=_text(method),
    )


def _tensors(side: Mapping[str, Any]) -> Dict[str, TensorInfo]:
    return {key: _tensor(one) for key, one in side.items()}


def _tensor(content: Mapping[str, Any]) -> TensorInfo:
    name = _text(content["dtype"])
    shape = content.get("tensor_shape") or {}
    dims = [Dim(_integer(dim.get("size", 0))) for dim in shape.get("dim") or ()]
    plain = name[len(_PREFIX) :].lower() if name.startswith(_PREFIX) else name
    return TensorInfo(
        name=_text(content.get("name") or ""),
        dtype=number_of(_RENAMED.get(plain, plain)),
        tensor_shape=TensorShape(dims, int(shape.get("unknown_rank") is True)),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("not a string")
    return value


def _integer(value: Any) -> int:
    if not _INTEGER.match(str(value)):
        raise ValueError("not an integer")
    return int(value)
