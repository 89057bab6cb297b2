"""Tensors of TensorFlow's C API, made of arrays and read as arrays."""

from __future__ import annotations

import ctypes
import itertools
from typing import Any, Dict, Iterable, List, Mapping, Tuple

import numpy as np

from ckpt2saved.graph.tf1 import tf

_STRING = 7  # of TF_DataType
_SIZE_OF_STRING = 24  # bytes of a TF_TString
_OFFSET = np.dtype("<u8")  # of a string in a tensor, up to TensorFlow 2.3

TYPES: Mapping[str, Tuple[Any, List[Any]]] = {  # functions by name: result, arguments
    "TF_AllocateTensor": (
        ctypes.c_void_p,
        [ctypes.c_int, ctypes.POINTER(ctypes.c_int64), ctypes.c_int, ctypes.c_size_t],
    ),
    "TF_DeleteTensor": (None, [ctypes.c_void_p]),
    "TF_TensorData": (ctypes.c_void_p, [ctypes.c_void_p]),
    "TF_TensorByteSize": (ctypes.c_size_t, [ctypes.c_void_p]),
    "TF_TensorType": (ctypes.c_int, [ctypes.c_void_p]),
    "TF_NumDims": (ctypes.c_int, [ctypes.c_void_p]),
    "TF_Dim": (ctypes.c_int64, [ctypes.c_void_p, ctypes.c_int]),
}
# The first of them tells how strings are represented: releases that have it have all of them.
STRING_TYPES: Mapping[str, Tuple[Any, List[Any]]] = {
    "TF_StringInit": (None, [ctypes.c_void_p]),
    "TF_StringCopy": (None, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]),
    "TF_StringGetDataPointer": (ctypes.c_void_p, [ctypes.c_void_p]),
    "TF_StringGetSize": (ctypes.c_size_t, [ctypes.c_void_p]),
    "TF_StringDealloc": (None, [ctypes.c_void_p]),
}


def has_string_objects(library: ctypes.CDLL) -> bool:
    """Whether the library's string tensors are arrays of TF_TString, and not of offsets and encoded strings."""
    return hasattr(library, next(iter(STRING_TYPES)))


class Inputs:
    """Tensors that are copies of arrays, until `delete`. Strings are object arrays of bytes."""

    def __init__(self, library: ctypes.CDLL, values: Iterable[np.ndarray]) -> None:
        self._library = library
        self._strings: List[int] = []  # addresses of TF_TStrings
        self._pointers: List[int] = []
        self.size = 0  # bytes of all values
        try:
            for value in values:
                self._add(np.asarray(value, order="C"))  # ascontiguousarray would make a vector of a scalar
        except BaseException:
            self.delete()
            raise

    @property
    def array(self) -> Any:
        """The array of TF_Tensor pointers."""
        return (ctypes.c_void_p * len(self._pointers))(*self._pointers)

    def __len__(self) -> int:
        return len(self._pointers)

    def delete(self) -> None:
        """Release the memory."""
        for address in self._strings:
            self._library.TF_StringDealloc(address)
        for pointer in self._pointers:
            self._library.TF_DeleteTensor(pointer)
        self._strings, self._pointers = [], []

    def _add(self, value: np.ndarray) -> None:
        if value.dtype.kind not in "OS":
            ctypes.memmove(self._allocated(value, value.nbytes), value.ctypes.data, value.nbytes)
            self.size += value.nbytes
            return
        items = [bytes(item) for item in value.ravel().tolist()]
        self.size += sum(map(len, items))
        if has_string_objects(self._library):
            start = self._allocated(value, len(items) * _SIZE_OF_STRING)
            for number, item in enumerate(items):
                address = start + number * _SIZE_OF_STRING
                self._library.TF_StringInit(address)
                self._strings.append(address)
                self._library.TF_StringCopy(address, item, len(item))
        else:
            content = _encoded(items)
            ctypes.memmove(self._allocated(value, len(content)), content, len(content))

    def _allocated(self, value: np.ndarray, size: int) -> int:
        """The address of the content of a new tensor."""
        dims = (ctypes.c_int64 * value.ndim)(*value.shape)
        dtype = _STRING if value.dtype.kind in "OS" else tf.as_dtype(value.dtype).as_datatype_enum
        pointer = self._library.TF_AllocateTensor(dtype, dims, value.ndim, size)
        self._pointers.append(pointer)
        return int(self._library.TF_TensorData(pointer) or 0)


class Outputs:
    """Tensors that a run fills, until `delete`."""

    def __init__(self, library: ctypes.CDLL, count: int) -> None:
        self._library = library
        self.array = (ctypes.c_void_p * count)()

    def __len__(self) -> int:
        return len(self.array)

    @property
    def values(self) -> List[np.ndarray]:
        """Copies of the tensors as arrays."""
        return [self._value(pointer) for pointer in self.array if pointer]

    @property
    def size(self) -> int:
        """Bytes of all values."""
        return sum(
            sum(map(len, value.ravel().tolist())) if value.dtype == object else value.nbytes for value in self.values
        )

    def delete(self) -> None:
        """Release the memory."""
        for number, pointer in enumerate(self.array):
            if pointer:
                self._library.TF_DeleteTensor(pointer)
                self.array[number] = None

    def _value(self, pointer: int) -> np.ndarray:
        library = self._library
        shape = [library.TF_Dim(pointer, axis) for axis in range(library.TF_NumDims(pointer))]
        dtype = library.TF_TensorType(pointer)
        if dtype == _STRING:
            found = np.empty(int(np.prod(shape, dtype=np.int64)), object)
            found[:] = self._strings(pointer, len(found))
            return found.reshape(shape)
        content = self._content(pointer)
        return np.frombuffer(content, np.dtype(tf.as_dtype(dtype).as_numpy_dtype)).reshape(shape)

    def _content(self, pointer: int) -> bytes:
        return ctypes.string_at(self._library.TF_TensorData(pointer), self._library.TF_TensorByteSize(pointer))

    def _strings(self, pointer: int, count: int) -> List[bytes]:
        library = self._library
        if not has_string_objects(library):
            return _decoded(self._content(pointer), count)
        start = library.TF_TensorData(pointer) or 0
        addresses = [start + number * _SIZE_OF_STRING for number in range(count)]
        return [
            ctypes.string_at(library.TF_StringGetDataPointer(address), library.TF_StringGetSize(address))
            for address in addresses
        ]


def _encoded(items: List[bytes]) -> bytes:
    """Strings as a tensor has them up to TensorFlow 2.3: offsets, then each string after its length as a varint."""
    pieces = [_varint(len(item)) + item for item in items]
    offsets = [0, *itertools.accumulate(map(len, pieces))][: len(items)]
    return np.array(offsets, _OFFSET).tobytes() + b"".join(pieces)


def _decoded(content: bytes, count: int) -> List[bytes]:
    start = count * _OFFSET.itemsize
    found = []
    for offset in np.frombuffer(content[:start], _OFFSET).tolist():
        length, position, shift = 0, start + offset, 0
        while True:
            byte = content[position]
            length |= (byte & 127) << shift
            position, shift = position + 1, shift + 7
            if byte < 128:
                break
        found.append(content[position : position + length])
    return found


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes(found) + bytes([number])


def declare(library: ctypes.CDLL) -> None:
    """Tell ctypes the types of the functions."""
    types: Dict[str, Tuple[Any, List[Any]]] = {**TYPES, **(STRING_TYPES if has_string_objects(library) else {})}
    for name, (result, arguments) in types.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
