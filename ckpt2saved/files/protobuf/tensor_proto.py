"""Conversion between numpy arrays and TensorProto without TensorFlow."""

from __future__ import annotations

from typing import Dict, List, Optional, Tuple

import numpy as np

from ckpt2saved.files.protobuf.data_types import STRING, name_of, number_of, numpy_dtype
from ckpt2saved.files.protobuf.messages import Budget, decode, encode
from ckpt2saved.files.protobuf.tensorflow_messages import Dim, Tensor, TensorShape
from ckpt2saved.files.protobuf.wire import Malformed, Part, of_bytes

# Data type -> the field that holds its values one by one, and how they stand in it.
_VALUES: Dict[str, Tuple[str, str]] = {
    "float32": ("float_val", "<f4"),
    "float64": ("double_val", "<f8"),
    "int32": ("int_val", "varint"),
    "uint8": ("int_val", "varint"),
    "int16": ("int_val", "varint"),
    "int8": ("int_val", "varint"),
    "complex64": ("scomplex_val", "<c8"),
    "int64": ("int64_val", "varint"),
    "bool": ("bool_val", "varint"),
    "uint16": ("int_val", "varint"),
    "complex128": ("dcomplex_val", "<c16"),
    "float16": ("half_val", "bits"),
    "uint32": ("uint32_val", "varint"),
    "uint64": ("uint64_val", "varint"),
}
_PIECE = 1 << 20  # bytes of varints that are read at once


def encode_tensor(array: np.ndarray) -> bytes:
    """Return the TensorProto of an array; arrays of bytes or str become string tensors."""
    shape = TensorShape(dim=[Dim(size) for size in array.shape])
    if array.dtype.kind in "OSU":
        texts = [text if isinstance(text, bytes) else str(text).encode("utf-8") for text in array.ravel().tolist()]
        return encode(Tensor(dtype=number_of(STRING), shape=shape, string_val=texts))
    if array.dtype.name not in _VALUES:
        raise ValueError(f"{array.dtype} can't be sent")
    content = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()
    return encode(Tensor(dtype=number_of(array.dtype.name), shape=shape, content=of_bytes(content)))


def decode_tensor(message: bytes, budget: Optional[Budget] = None) -> np.ndarray:
    """Return the array of a TensorProto; a string tensor becomes an array of bytes objects.

    Raises wire.Malformed or ValueError; ValueError also if the `budget` is exceeded.
    """
    budget = budget or Budget()
    tensor = decode(Tensor, of_bytes(message), budget)
    name = name_of(tensor.dtype)
    dtype = numpy_dtype(name)
    if name == STRING:
        budget.take(sum(map(len, tensor.string_val)))
        flat = np.empty([len(tensor.string_val)], object)
        flat[:] = tensor.string_val
    elif tensor.content is not None and tensor.content.size:
        budget.take(tensor.content.size)
        flat = np.frombuffer(tensor.content.content(), dtype.newbyteorder("<")).astype(dtype)
    else:
        field, kind = _VALUES[name]
        values: List[Part] = getattr(tensor, field)
        flat = _values(b"".join(part.content() for part in values), kind, dtype, budget)
    return _filled(flat, [] if tensor.shape is None else [dim.size for dim in tensor.shape.dim], budget)


def _values(content: bytes, kind: str, dtype: np.dtype, budget: Budget) -> np.ndarray:
    if kind not in ("varint", "bits"):
        budget.take(len(content))
        return np.frombuffer(content, kind).astype(dtype)
    numbers = _varints(content, budget)
    if kind == "bits":
        return numbers.astype(np.uint16).view(dtype)
    return numbers.astype(np.uint64 if dtype == np.uint64 else np.int64).astype(dtype)


def _varints(content: bytes, budget: Budget) -> np.ndarray:
    """Return all varints of one or more field values, as uint64."""
    found = [np.zeros([0], np.uint64)]
    position = 0
    while position < len(content):
        piece = np.frombuffer(content, np.uint8, min(_PIECE, len(content) - position), position)
        ends = np.flatnonzero(piece < 0x80)
        lengths = np.diff(np.concatenate([[-1], ends]))
        if not ends.size or lengths.max() > 10:
            raise Malformed
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
    """Reshape the values; missing ones repeat the last value, as in TensorFlow, or are zero."""
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
