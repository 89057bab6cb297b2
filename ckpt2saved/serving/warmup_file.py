"""The requests with which TF Serving warms a version up while it loads it: their file, written and read."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Dict, Iterable, List, Mapping, Optional

import numpy as np

from ckpt2saved.errors import ServingError
from ckpt2saved.wire import Malformed, Span, content, fields, integer, integers, text, written

# saved_model_warmup_util.h of TF Serving: where the file is, and how many records it may have; one more, and the
# server does not load the version.
WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"
MOST_RECORDS = 1000

# Fields of the messages PredictionLog, PredictLog, PredictRequest and ModelSpec.
_PREDICT_LOG = 6
_REQUEST = 1
_MODEL_SPEC, _INPUTS = 1, 2
_MODEL_NAME, _SIGNATURE_NAME = 1, 3
_KEY, _VALUE = 1, 2  # of a map's entry

# Fields of TensorProto and TensorShapeProto.
_DTYPE, _SHAPE, _CONTENT, _STRINGS = 1, 2, 4, 8
_DIMENSION, _SIZE = 2, 1
# The lists of values that TensorFlow writes in place of a tensor's content, above all for single values. Packed, of
# fixed size or of varints.
_FIXED = {5: "<f4", 6: "<f8", 9: "<c8", 12: "<c16"}
_VARINTS = (7, 10, 11, 13, 16, 17)

_STRING = 7
# The enum DataType, by numpy's names; bfloat16 is not one of numpy's own.
_DTYPES = {
    1: "float32",
    2: "float64",
    3: "int32",
    4: "uint8",
    5: "int16",
    6: "int8",
    8: "complex64",
    9: "int64",
    10: "bool",
    17: "uint16",
    18: "complex128",
    19: "float16",
    22: "uint32",
    23: "uint64",
}
_NUMBERS = {name: number for number, name in _DTYPES.items()}

_HEADER, _FOOTER = 12, 4  # of a TFRecord: length and its checksum before the record, the record's checksum after it


@dataclass(frozen=True)
class WarmupRequest:
    """What a server is asked for while it loads a version: a signature's name, and its inputs by their keys.

    Strings are arrays of dtype object that hold bytes.
    """

    signature: str
    inputs: Mapping[str, np.ndarray]


def read_warmup_requests(version_dir: Path) -> List[WarmupRequest]:
    """The requests in a version's warm-up file, in its order; [] where it has none.

    Raises ServingError where the file is no such file. The checksums are TensorFlow's to compare, which does it many
    times faster; a file that is cut off is found out.
    """
    path = Path(version_dir) / WARMUP_FILE
    try:
        with path.open("rb") as file:
            return [_request(file, span) for span in _records(file, path.stat().st_size)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ServingError("{}: can't be read: {}".format(path, error.strerror)) from error
    except _Unread as error:
        raise ServingError("{}: {}".format(path, error)) from error
    except (Malformed, ValueError, struct.error) as error:
        raise ServingError(
            "{}: cut off, or no TFRecords of PredictionLog: TF Serving would not load the version; export it "
            "again".format(path)
        ) from error


def as_prediction_log(request: WarmupRequest, model: str) -> bytes:
    """The request as a serialised PredictionLog; the same request gives the same bytes.

    TF Serving does not read the model's name. Raises KeyError for a dtype that has no number here.
    """
    spec = written(_MODEL_NAME, model.encode()) + written(_SIGNATURE_NAME, request.signature.encode())
    predict = written(_MODEL_SPEC, spec)
    for key in sorted(request.inputs):
        entry = written(_KEY, key.encode()) + written(_VALUE, _tensor_proto(request.inputs[key]))
        predict += written(_INPUTS, entry)
    return written(_PREDICT_LOG, written(_REQUEST, predict))


def _tensor_proto(value: np.ndarray) -> bytes:
    is_string = value.dtype == object
    number = _STRING if is_string else _NUMBERS[value.dtype.name]
    sizes = b"".join(written(_DIMENSION, written(_SIZE, size) if size else b"") for size in value.shape)
    head = written(_DTYPE, number) + written(_SHAPE, sizes)
    if is_string:
        return head + b"".join(written(_STRINGS, item) for item in value.ravel().tolist())
    little = np.ascontiguousarray(value).astype(value.dtype.newbyteorder("<"), copy=False)
    return head + written(_CONTENT, little.tobytes())


class _Unread(Exception):
    """A record that TF Serving might take, and this does not."""


def _records(file: BinaryIO, size: int) -> Iterable[Span]:
    position = 0
    while position < size:
        file.seek(position)
        (length,) = struct.unpack("<Q", file.read(_HEADER)[:8])
        start = position + _HEADER
        position = start + length + _FOOTER
        if position > size:
            raise Malformed
        yield start, start + length


def _request(file: BinaryIO, span: Span) -> WarmupRequest:
    predict = _one(file, span, _PREDICT_LOG)
    request = None if predict is None else _one(file, predict, _REQUEST)
    if request is None:
        raise _Unread("a record that is no Predict request; only those are read here")
    spec = _one(file, request, _MODEL_SPEC)
    name = None if spec is None else _one(file, spec, _SIGNATURE_NAME)
    inputs = {}
    for entry in _each(file, request, _INPUTS):
        parts = dict(fields(file, *entry))
        key = text(file, parts[_KEY]) if _KEY in parts else ""
        inputs[key] = _array(file, parts.get(_VALUE, (entry[1], entry[1])), key)
    return WarmupRequest((text(file, name) if name else "") or "serving_default", inputs)


def _array(file: BinaryIO, span: Span, key: str) -> np.ndarray:
    """A TensorProto as an array, whichever of its two forms it has."""
    dtype, shape = 0, []  # type: int, List[int]
    packed, strings, values = None, [], []  # type: Optional[bytes], List[bytes], List[np.ndarray]
    for number, at in fields(file, *span):
        if number == _DTYPE:
            dtype = integer(file, at)
        elif number == _SHAPE:
            shape = [_size(file, dimension) for dimension in _each(file, at, _DIMENSION)]
        elif number == _CONTENT:
            packed = content(file, at)
        elif number == _STRINGS:
            strings.append(content(file, at))
        elif number in _FIXED:
            values.append(np.frombuffer(content(file, at), _FIXED[number]))
        elif number in _VARINTS:
            values.append(np.array(integers(file, at)))
    if dtype == _STRING:
        return _filled(np.array(strings + [b""], object)[:-1], shape)
    if dtype not in _DTYPES:
        raise _Unread("the input {} has the dtype number {}, which is not read here".format(key, dtype))
    kind = np.dtype(_DTYPES[dtype])
    if packed is not None:
        return np.frombuffer(packed, kind.newbyteorder("<")).astype(kind).reshape(shape)
    listed = np.concatenate(values or [np.zeros(0)])
    # half_val is a list of bit patterns.
    return _filled(listed.astype("uint16").view(kind) if kind == np.float16 else listed.astype(kind), shape)


def _filled(values: np.ndarray, shape: List[int]) -> np.ndarray:
    """The values in a shape; where they are too few the last one stands for the rest, as in TensorFlow."""
    count = int(np.prod(shape, dtype=np.int64))
    if len(values) < count:
        last = (
            values[-1:] if len(values) else np.array([b""], object) if values.dtype == object else values.dtype.type(0)
        )
        values = np.concatenate([values, np.resize(last, count - len(values))])
    return values.reshape(shape)


def _size(file: BinaryIO, span: Span) -> int:
    size = _one(file, span, _SIZE)
    return 0 if size is None else integer(file, size)


def _one(file: BinaryIO, span: Span, number: int) -> Optional[Span]:
    """The field of that number, of which the last one counts."""
    found = list(_each(file, span, number))
    return found[-1] if found else None


def _each(file: BinaryIO, span: Span, number: int) -> Iterable[Span]:
    for found, at in fields(file, *span):
        if found == number:
            yield at


def requests_by_signature(requests: Iterable[WarmupRequest]) -> Dict[str, int]:
    """How many requests there are of each signature."""
    counts = {}  # type: Dict[str, int]
    for request in requests:
        counts[request.signature] = counts.get(request.signature, 0) + 1
    return counts
