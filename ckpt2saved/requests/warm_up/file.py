"""Write and read tf_serving_warmup_requests, the requests that TF Serving runs while it loads a version."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO, Dict, Iterable, Iterator, List

import numpy as np

from ckpt2saved.errors import ServingError
from ckpt2saved.files.protobuf.messages import Budget, decode, encode
from ckpt2saved.files.protobuf.serving_messages import ModelSpec, PredictionLog, PredictLog, PredictRequest
from ckpt2saved.files.protobuf.tensor_proto import decode_tensor, encode_tensor
from ckpt2saved.files.protobuf.wire import Malformed, Part, of_bytes, of_file
from ckpt2saved.files.reading import open_file, size_of
from ckpt2saved.requests.request import Inputs, Request
from ckpt2saved.saved_model.judgement import WARMUP_FILE
from ckpt2saved.signature.tensors import DEFAULT_SIGNATURE

# Limits for decoded tensors: a TensorProto may leave out repeated values, so it can be much smaller than its tensor.
_MOST_BYTES, _MOST_FIELDS = 1 << 30, 4 << 20

_HEADER, _FOOTER = 12, 4  # bytes of a TFRecord before its data (length, checksum) and after it (checksum)


class BrokenWarmUpFile(ServingError):
    """The warm-up file is damaged; TF Serving does not load the version."""


def read_warm_up_requests(version_dir: Path) -> List[Request]:
    """The requests in the warm-up file of a version, in order; [] if there is no file.

    Raises ServingError if the file cannot be read, BrokenWarmUpFile if it is truncated or no warm-up file. Checksums
    are not compared here: judge_warmup does that.
    """
    path = Path(version_dir) / WARMUP_FILE
    try:
        with open_file(path) as file:
            size = size_of(file)
            budget = Budget(_MOST_BYTES + 8 * size, _MOST_FIELDS)
            return [_request(record, number, budget) for number, record in enumerate(_records(file, size), start=1)]
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
    """The request as a serialized PredictionLog; deterministic.

    TF Serving ignores the model name. Raises ValueError for a dtype that TensorProto cannot hold.
    """
    message = PredictRequest(
        model_spec=ModelSpec(name=model, signature_name=request.signature),
        inputs={key: of_bytes(encode_tensor(array)) for key, array in request.inputs.items()},
        output_filter=list(request.outputs or ()),
    )
    return encode(PredictionLog(predict_log=PredictLog(request=message)))


class _Unread(Exception):
    """A record that TF Serving might accept, but this reader does not support."""


def _records(file: BinaryIO, size: int) -> Iterator[Part]:
    whole = of_file(file, size)
    position = 0
    while position < size:
        file.seek(position)
        (length,) = struct.unpack("<Q", file.read(_HEADER)[:8])
        start = position + _HEADER
        position = start + length + _FOOTER
        if position > size:
            raise Malformed
        yield Part(whole.source, start, start + length)


def _request(record: Part, number: int, budget: Budget) -> Request:
    log = decode(PredictionLog, record, budget).predict_log
    if log is None or log.request is None:
        raise _Unread("a record that is no Predict request; only those are read here")
    request = log.request
    inputs = {key: _array(tensor, key, budget) for key, tensor in request.inputs.items()}
    spec = request.model_spec or ModelSpec()
    return Request(
        f"warm-up request {number}",
        spec.signature_name or DEFAULT_SIGNATURE,
        inputs,
        is_of_known_size=True,
        outputs=tuple(request.output_filter) or None,
    )


def _array(tensor: Part, key: str, budget: Budget) -> np.ndarray:
    try:
        return decode_tensor(tensor.content(), budget)
    except ValueError as error:
        raise _Unread(f"the input {key}: {error}") from error


def requests_by_signature(requests: Iterable[Request]) -> Dict[str, int]:
    """Signature -> number of requests."""
    counts: Dict[str, int] = {}
    for request in requests:
        counts[request.signature] = counts.get(request.signature, 0) + 1
    return counts


def warm_up_request(signature: str, inputs: Inputs) -> Request:
    """A request to write to the warm-up file, which stores no request names."""
    return Request("a warm-up request", signature, inputs)
