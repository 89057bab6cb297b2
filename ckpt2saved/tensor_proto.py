"""A numpy array as a TensorProto, and back, without TensorFlow."""

from __future__ import annotations

import io
from typing import BinaryIO, List

import numpy as np

from ckpt2saved import wire
from ckpt2saved.wire import written

# Fields of the messages TensorProto, TensorShapeProto and its Dim.
_DTYPE, _SHAPE, _CONTENT, _STRINGS = 1, 2, 4, 8
_DIMENSION = 2
_SIZE = 1

STRING = 7
# TensorFlow's DataType -> numpy's dtype, the field that holds its values one by one, and how they stand in it.
_TYPES = {
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
}  # type: Dict[int, Tuple[str, int, str]]
_NUMBERS = {name: number for number, (name, _, _) in _TYPES.items()}


def numpy_dtype(data_type: int) -> np.dtype:
    """What numpy calls TensorFlow's DataType; strings are objects. Raises ValueError for one that it does not have."""
    if data_type == STRING:
        return np.dtype(object)
    if data_type not in _TYPES:
        raise ValueError("TensorFlow's data type {} has no equal in numpy".format(data_type))
    return np.dtype(_TYPES[data_type][0])


def encode_tensor(array: np.ndarray) -> bytes:
    """The message that stands for an array; of texts, as bytes or str, for one of strings."""
    shape = b"".join(written(_DIMENSION, written(_SIZE, size)) for size in array.shape)
    if array.dtype.kind in "OSU":
        texts = [text if isinstance(text, bytes) else str(text).encode("utf-8") for text in array.ravel().tolist()]
        return written(_DTYPE, STRING) + written(_SHAPE, shape) + b"".join(written(_STRINGS, text) for text in texts)
    if array.dtype.name not in _NUMBERS:
        raise ValueError("{} can't be sent".format(array.dtype))
    content = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()
    return written(_DTYPE, _NUMBERS[array.dtype.name]) + written(_SHAPE, shape) + written(_CONTENT, content)


def decode_tensor(message: bytes) -> np.ndarray:
    """The array that a message stands for; of bytes objects for one of strings. Raises wire.Malformed or ValueError."""
    file = io.BytesIO(message)
    data_type, shape, content = 0, [], None  # type: int, List[int], Any
    texts, values = [], {}  # type: List[bytes], Dict[int, List[wire.Span]]
    for number, span in wire.fields(file, 0, len(message)):
        if number == _DTYPE:
            data_type = wire.integer(file, span)
        elif number == _SHAPE:
            shape = _shape(file, span)
        elif number == _CONTENT:
            content = wire.content(file, span)
        elif number == _STRINGS:
            texts.append(wire.content(file, span))
        else:
            values.setdefault(number, []).append(span)
    dtype = numpy_dtype(data_type)
    if data_type == STRING:
        flat = np.empty([len(texts)], object)
        flat[:] = texts
    elif content:
        flat = np.frombuffer(content, dtype.newbyteorder("<")).astype(dtype)
    else:
        _, number, kind = _TYPES[data_type]
        flat = _values(file, values.get(number, []), kind, dtype)
    return _filled(flat, shape)


def _shape(file: BinaryIO, span: wire.Span) -> List[int]:
    sizes = []
    for number, dimension in wire.fields(file, *span):
        if number == _DIMENSION:
            size = [wire.integer(file, at) for found, at in wire.fields(file, *dimension) if found == _SIZE]
            sizes.append(size[-1] if size else 0)
    return sizes


def _values(file: BinaryIO, spans: List[wire.Span], kind: str, dtype: np.dtype) -> np.ndarray:
    if kind in ("varint", "bits"):
        numbers = [number for span in spans for number in wire.integers(file, span)]
        if kind == "bits":
            return np.array(numbers, np.uint16).view(dtype)
        wide = np.uint64 if dtype == np.uint64 else np.int64
        return np.array([number & 0xFFFFFFFFFFFFFFFF for number in numbers], np.uint64).astype(wide).astype(dtype)
    return np.frombuffer(b"".join(wire.content(file, span) for span in spans), kind).astype(dtype)


def _filled(flat: np.ndarray, shape: List[int]) -> np.ndarray:
    """In its shape; where values are missing, the last one stands for the rest, as TensorFlow reads it, or zero."""
    size = int(np.prod(shape, dtype=np.int64))
    if flat.size < size:
        nothing = np.array([b""], object) if flat.dtype == object else np.zeros([1], flat.dtype)
        last = flat[-1:] if flat.size else nothing
        flat = np.concatenate([flat, np.repeat(last, size - flat.size)])
    if flat.size != size:
        raise ValueError("{} values for a tensor of the shape {}".format(flat.size, shape))
    return flat.reshape(shape)
