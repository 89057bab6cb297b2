"""A numpy array as a TensorProto, and back, without TensorFlow."""

from __future__ import annotations

import io
from typing import Any, BinaryIO, Dict, Iterator, List, Optional, Tuple

import numpy as np

from ckpt2saved.protobuf import wire
from ckpt2saved.protobuf.wire import written

# Fields of the messages TensorProto, TensorShapeProto and its Dim.
_DTYPE, _SHAPE, _CONTENT, _STRINGS = 1, 2, 4, 8
_DIMENSION = 2
_SIZE = 1

STRING = 7
# TensorFlow's DataType -> numpy's dtype, the field that holds its values one by one, and how they stand in it.
_TYPES: Dict[int, Tuple[str, int, str]] = {
    1: ("float32", 5, "<f4"),
    2: ("float64", 6, "<f8"),
    3: ("int32", 7, "varint"),
    4: ("uint8", 7, "varint"),
    5: ("int16", 7, "varint"),
    6: ("int8", 7, "varint"),
    8: ("complex64", 9, "<c8"),
    9: ("int64", 10, "varint"),
    10: ("bool", 11, "varint"),
    17: ("uint16", 7, "varint"),
    18: ("complex128", 12, "<c16"),
    19: ("float16", 13, "bits"),
    22: ("uint32", 16, "varint"),
    23: ("uint64", 17, "varint"),
}
_MOST_BYTES = 1 << 30
_MOST_FIELDS = 1 << 20
_PIECE = 1 << 20  # bytes of varints that are read at once
_NUMBERS = {name: number for number, (name, _, _) in _TYPES.items()}


class Budget:
    """What the tensors of one message may take altogether: a message of 60 bytes can stand for an array of 32 GiB."""

    def __init__(self, most_bytes: int = _MOST_BYTES, most_fields: int = _MOST_FIELDS) -> None:
        self.most_bytes, self.most_fields = most_bytes, most_fields
        self._bytes, self._fields = 0, 0

    def fields(self, file: BinaryIO, span: wire.Span) -> Iterator[Tuple[int, wire.Span]]:
        """The fields of the message in the span; raises ValueError where there are too many."""
        for field in wire.fields(file, *span):
            self._fields += 1
            if self._fields > self.most_fields:
                raise ValueError(f"its tensors have more than {self.most_fields} separate fields")
            yield field

    def take(self, count: int) -> None:
        """Note that an array takes `count` bytes more; raises ValueError where that is too much."""
        self._bytes += count
        if self._bytes > self.most_bytes:
            raise ValueError(
                (f"its tensors take {self._bytes >> 20} MB or more, and at most {self.most_bytes >> 20} MB are read")
            )


def numpy_dtype(data_type: int) -> np.dtype:
    """What numpy calls TensorFlow's DataType; strings are objects. Raises ValueError for one that it does not have."""
    if data_type == STRING:
        return np.dtype(object)
    if data_type not in _TYPES:
        raise ValueError(f"TensorFlow's data type {data_type} has no equal in numpy")
    return np.dtype(_TYPES[data_type][0])


def encode_tensor(array: np.ndarray) -> bytes:
    """The message that stands for an array; of texts, as bytes or str, for one of strings."""
    shape = b"".join(written(_DIMENSION, written(_SIZE, size)) for size in array.shape)
    if array.dtype.kind in "OSU":
        texts = [text if isinstance(text, bytes) else str(text).encode("utf-8") for text in array.ravel().tolist()]
        return written(_DTYPE, STRING) + written(_SHAPE, shape) + b"".join(written(_STRINGS, text) for text in texts)
    if array.dtype.name not in _NUMBERS:
        raise ValueError(f"{array.dtype} can't be sent")
    content = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()
    return written(_DTYPE, _NUMBERS[array.dtype.name]) + written(_SHAPE, shape) + written(_CONTENT, content)


def decode_tensor(message: bytes, budget: Optional[Budget] = None) -> np.ndarray:
    """The array that a message stands for; of bytes objects for one of strings.

    Raises wire.Malformed, or ValueError, which is also for what takes more than the `budget`.
    """
    budget = budget or Budget()
    file = io.BytesIO(message)
    data_type = 0
    shape: List[int] = []
    content: Any = None
    texts: List[bytes] = []
    values: Dict[int, List[wire.Span]] = {}
    for number, span in budget.fields(file, (0, len(message))):
        if number == _DTYPE:
            data_type = wire.integer(file, span)
        elif number == _SHAPE:
            shape = _shape(file, span, budget)
        elif number == _CONTENT:
            content = wire.content(file, span)
        elif number == _STRINGS:
            texts.append(wire.content(file, span))
        else:
            values.setdefault(number, []).append(span)
    dtype = numpy_dtype(data_type)
    if data_type == STRING:
        budget.take(sum(map(len, texts)))
        flat = np.empty([len(texts)], object)
        flat[:] = texts
    elif content:
        budget.take(len(content))
        flat = np.frombuffer(content, dtype.newbyteorder("<")).astype(dtype)
    else:
        _, number, kind = _TYPES[data_type]
        parts = [wire.content(file, span) for span in values.get(number, [])]
        flat = _values(b"".join(parts), kind, dtype, budget)
    return _filled(flat, shape, budget)


def _shape(file: BinaryIO, span: wire.Span, budget: Budget) -> List[int]:
    sizes = []
    for number, dimension in budget.fields(file, span):
        if number == _DIMENSION:
            size = [wire.integer(file, at) for found, at in budget.fields(file, dimension) if found == _SIZE]
            sizes.append(size[-1] if size else 0)
    return sizes


def _values(content: bytes, kind: str, dtype: np.dtype, budget: Budget) -> np.ndarray:
    if kind not in ("varint", "bits"):
        budget.take(len(content))
        return np.frombuffer(content, kind).astype(dtype)
    numbers = _varints(content, budget)
    if kind == "bits":
        return numbers.astype(np.uint16).view(dtype)
    return numbers.astype(np.uint64 if dtype == np.uint64 else np.int64).astype(dtype)


def _varints(content: bytes, budget: Budget) -> np.ndarray:
    """All the varints of a field or of several, as uint64."""
    found = [np.zeros([0], np.uint64)]
    position = 0
    while position < len(content):
        piece = np.frombuffer(content, np.uint8, min(_PIECE, len(content) - position), position)
        ends = np.flatnonzero(piece < 0x80)
        lengths = np.diff(np.concatenate([[-1], ends]))
        if not ends.size or lengths.max() > 10:
            raise wire.Malformed
        budget.take(8 * ends.size)
        numbers = np.zeros(ends.shape, np.uint64)
        for place in range(lengths.max()):
            longer = lengths > place
            part = piece[(ends - lengths + 1 + place)[longer]] & 0x7F
            numbers[longer] |= part.astype(np.uint64) << np.uint64(7 * place)
        found.append(numbers)
        position += int(ends[-1]) + 1
    return np.concatenate(found)


def _filled(flat: np.ndarray, shape: List[int], budget: Budget) -> np.ndarray:
    """In its shape; where values are missing, the last one stands for the rest, as TensorFlow reads it, or zero."""
    size = 1
    for length in shape:
        size *= length
    if size < 0 or min(shape, default=0) < 0:
        raise ValueError(f"a tensor of the shape {shape[:10]}")
    if flat.size < size:
        budget.take((size - flat.size) * flat.itemsize)
        nothing = np.array([b""], object) if flat.dtype == object else np.zeros([1], flat.dtype)
        last = flat[-1:] if flat.size else nothing
        flat = np.concatenate([flat, np.repeat(last, size - flat.size)])
    if flat.size != size:
        raise ValueError(f"{flat.size} values for a tensor of the shape {shape[:10]}")
    return flat.reshape(shape)
