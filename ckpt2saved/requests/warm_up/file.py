"""The requests with which TF Serving warms a version up while it loads it: their file, written and read."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO, Dict, Iterable, List, Optional

import numpy as np

from ckpt2saved.errors import ServingError
from ckpt2saved.files.reading import open_file, size_of
from ckpt2saved.protobuf.tensor_proto import Budget, decode_tensor, encode_tensor
from ckpt2saved.protobuf.wire import Malformed, Span, content, each, fields, text, written
from ckpt2saved.requests.request import Inputs, Request
from ckpt2saved.saved_model.judgement import WARMUP_FILE

# Fields of the messages PredictionLog, PredictLog, PredictRequest and ModelSpec.
_PREDICT_LOG = 6
_REQUEST = 1
_MODEL_SPEC, _INPUTS, _OUTPUT_FILTER = 1, 2, 3
_MODEL_NAME, _SIGNATURE_NAME = 1, 3
_KEY, _VALUE = 1, 2  # of a map's entry

# What the file's tensors may take beyond what stands in it, where values are left out that repeat.
_MOST_BYTES, _MOST_FIELDS = 1 << 30, 4 << 20

_HEADER, _FOOTER = 12, 4  # of a TFRecord: length and its checksum before the record, the record's checksum after it


class BrokenWarmUpFile(ServingError):
    """The file is one that keeps TF Serving from loading the version."""


def read_warm_up_requests(version_dir: Path) -> List[Request]:
    """The requests in a version's warm-up file, in its order; [] where it has none.

    Raises ServingError where the file can't be read, BrokenWarmUpFile where it is no such file. The checksums are
    TensorFlow's to compare, which does it many times faster; a file that is cut off is found out.
    """
    path = Path(version_dir) / WARMUP_FILE
    try:
        with open_file(path) as file:
            size = size_of(file)
            budget = Budget(_MOST_BYTES + 8 * size, _MOST_FIELDS)
            return [_request(file, span, number, budget) for number, span in enumerate(_records(file, size), start=1)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ServingError(f"{path}: can't be read: {error.strerror}") from error
    except _Unread as error:
        raise ServingError(f"{path}: {error}") from error
    except (Malformed, ValueError, struct.error) as error:
        raise BrokenWarmUpFile(
            f"{path}: cut off, or no TFRecords of PredictionLog: TF Serving would not load the version; export it again"
        ) from error


def as_prediction_log(request: Request, model: str) -> bytes:
    """The request as a serialised PredictionLog; the same request gives the same bytes.

    TF Serving does not read the model's name. Raises ValueError for a dtype that has no place in it.
    """
    spec = written(_MODEL_NAME, model.encode()) + written(_SIGNATURE_NAME, request.signature.encode())
    predict = written(_MODEL_SPEC, spec)
    for key in sorted(request.inputs):
        entry = written(_KEY, key.encode()) + written(_VALUE, encode_tensor(request.inputs[key]))
        predict += written(_INPUTS, entry)
    for key in request.outputs or ():
        predict += written(_OUTPUT_FILTER, key.encode())
    return written(_PREDICT_LOG, written(_REQUEST, predict))


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


def _request(file: BinaryIO, span: Span, number: int, budget: Budget) -> Request:
    predict = _one(file, span, _PREDICT_LOG)
    request = None if predict is None else _one(file, predict, _REQUEST)
    if request is None:
        raise _Unread("a record that is no Predict request; only those are read here")
    spec = _one(file, request, _MODEL_SPEC)
    name = None if spec is None else _one(file, spec, _SIGNATURE_NAME)
    inputs = {}
    for entry in each(file, request, _INPUTS):
        parts = dict(fields(file, *entry))
        key = text(file, parts[_KEY]) if _KEY in parts else ""
        inputs[key] = _array(file, parts.get(_VALUE, (entry[1], entry[1])), key, budget)
    outputs = tuple(text(file, at) for at in each(file, request, _OUTPUT_FILTER))
    signature = (text(file, name) if name else "") or "serving_default"
    return Request(f"warm-up request {number}", signature, inputs, is_of_known_size=True, outputs=outputs or None)


def _array(file: BinaryIO, span: Span, key: str, budget: Budget) -> np.ndarray:
    try:
        return decode_tensor(content(file, span), budget)
    except ValueError as error:
        raise _Unread(f"the input {key}: {error}") from error


def _one(file: BinaryIO, span: Span, number: int) -> Optional[Span]:
    """The field of that number, of which the last one counts."""
    found = list(each(file, span, number))
    return found[-1] if found else None


def requests_by_signature(requests: Iterable[Request]) -> Dict[str, int]:
    """How many requests there are of each signature."""
    counts: Dict[str, int] = {}
    for request in requests:
        counts[request.signature] = counts.get(request.signature, 0) + 1
    return counts


def warm_up_request(signature: str, inputs: Inputs) -> Request:
    """A request for the file, which has no names: what is read back is called by its number."""
    return Request("a warm-up request", signature, inputs)


def with_bytes(value: np.ndarray) -> np.ndarray:
    """An array as requests hold it: strings as bytes, each an object; numbers as they are."""
    if value.dtype.kind not in "OSU":
        return value
    items = [item.encode("utf-8") if isinstance(item, str) else bytes(item) for item in value.ravel().tolist()]
    found = np.empty(len(items), object)
    found[:] = items
    return found.reshape(value.shape)
