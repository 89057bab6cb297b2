"""What clients of a server should set: the largest message, one channel, deadlines."""

from __future__ import annotations

import math
from typing import Iterator, Optional, Sequence, Tuple

import numpy as np

from ckpt2saved.console.sizes import size_text
from ckpt2saved.saved_model.reading import read_signatures
from ckpt2saved.server_config.measurements import Row
from ckpt2saved.server_config.models import Model
from ckpt2saved.server_config.settings import ServerSettings
from ckpt2saved.signature.tensors import Signature, TensorSpec

# Default of grpc.max_receive_message_length in clients: GRPC_DEFAULT_MAX_RECV_MESSAGE_LENGTH of grpc's
# include/grpc/impl/channel_arg_names.h. The server itself takes and sends up to 2 GB.
_DEFAULT_MESSAGE = 4 << 20
_LINES = 32  # of the largest request, without batching
_OPEN = 128  # taken for a dimension that a request may choose, other than the batch
_STRING = 256  # bytes taken for a text
_DEADLINES = 10  # times the measured p99
_SHORTEST_DEADLINE = 1.0  # second
_WITHOUT = "without one gRPC waits for as long as it takes"


def client_advice(models: Sequence[Model], settings: ServerSettings, rows: Sequence[Row] = ()) -> Tuple[str, ...]:
    """Return a sentence for each thing that clients should do; `rows` are measurements of the server's settings."""
    lines = settings.batching.max_batch_size if settings.batching else _LINES
    return (*_messages(models, lines), _channel(), _deadline(rows))


def _messages(models: Sequence[Model], lines: int) -> Iterator[str]:
    """The answers that are larger than what clients take by default."""
    found = False
    for model in models:
        signatures = read_signatures(model.loaded[0].path) if model.loaded else {}
        for name, signature in sorted(signatures.items()):
            size, is_estimated = answer_bytes(signature, lines)
            if signature.is_for_warmup or size <= _DEFAULT_MESSAGE:
                continue
            found = True
            of = f" (taking {_OPEN} for each open dimension)" if is_estimated else ""
            yield (
                f"{model.name}, signature {name}: an answer for {lines} items has about {size_text(size)}{of}, and "
                "gRPC clients refuse more than 4 MB by default: set grpc.max_receive_message_length to "
                f"{_rounded(size)}, or ask for fewer outputs with output_filter"
            )
    if not found:
        yield f"answers for {lines} items are below the 4 MB that gRPC clients take by default"


def answer_bytes(signature: Signature, lines: int) -> Tuple[int, bool]:
    """Return the size of an answer for so many lines in bytes, and whether an open dimension or rank is a guess."""
    total, is_estimated = 0, False
    for spec in signature.outputs:
        count, is_guess = _values(spec, lines)
        total += count * (_STRING if spec.dtype == "string" else _item_bytes(spec.dtype))
        is_estimated |= is_guess
    return total, is_estimated


def _values(spec: TensorSpec, lines: int) -> Tuple[int, bool]:
    if spec.shape is None:
        return lines * _OPEN, True
    sizes = [lines if not isinstance(size, int) else size for size in spec.shape[:1]]
    sizes += [_OPEN if not isinstance(size, int) else size for size in spec.shape[1:]]
    return int(np.prod([max(size, 0) for size in sizes], dtype=np.float64)), spec.has_open_sizes


def _item_bytes(dtype: str) -> int:
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


def _rounded(size: int) -> int:
    """The next power of two that leaves room for more."""
    return 1 << math.ceil(math.log2(size * 1.5))


def _channel() -> str:
    return "one channel (or HTTP connection) for all requests of a process: a new one costs connecting each time"


def _deadline(rows: Sequence[Row]) -> str:
    longest: Optional[float] = max((row.p99 for row in rows), default=None)
    if longest is None:
        return f"a deadline for each request, such as ten times its usual time: {_WITHOUT}"
    seconds = max(_SHORTEST_DEADLINE, math.ceil(10 * _DEADLINES * longest) / 10)
    return f"a deadline of {seconds:g} s for each request, from ten times the longest p99 that was measured: {_WITHOUT}"
