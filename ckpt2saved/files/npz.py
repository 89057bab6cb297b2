"""Reading of .npz and .npy files; sizes are checked before unpacking, and nothing is unpickled."""

from __future__ import annotations

import io
import os
import struct
import tokenize
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO, Callable, Dict, cast

import numpy as np
from numpy.lib import format as npy

from ckpt2saved.files.reading import open_file, size_of

# Bytes of all the arrays, which are packed a thousand times smaller where they are zeros; of the list of what is in the
# file, and of the description of one array.
_MOST_BYTES = 1 << 30
_MOST_DIRECTORY = 1 << 20
_MOST_HEADER = 10000
_MOST_EMPTY = 1 << 20  # empty strings, which take no bytes in the file
_SUFFIX = ".npy"
_END = b"PK\x05\x06"  # of the record at the end of a zip file: its signature, then what struct reads
_END_SIZE = 22
_MAGIC = b"\x93NUMPY"

# What numpy, zipfile and zlib say of a file that is cut off, or is no such file.
_UNREADABLE = (
    ValueError,
    EOFError,
    TypeError,
    SyntaxError,  # a malformed header, on older numpy
    tokenize.TokenError,  # the same, on newer Pythons
    RuntimeError,  # with NotImplementedError and RecursionError: of a password, of an unknown compression
    LookupError,
    MemoryError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


class NoArrays(Exception):
    """The file contains no readable arrays; the message gives the reason without the file's name."""


def read_arrays(path: Path) -> Dict[str, np.ndarray]:
    """Return the arrays of a `.npz` file by name; raises NoArrays, also above 1 GiB of memory."""
    return cast(Dict[str, np.ndarray], _read(path, _arrays, "a .npz file of plain arrays, as numpy.savez writes it"))


def read_array(path: Path) -> np.ndarray:
    """Return the array of a `.npy` file; raises NoArrays, also above 1 GiB of memory."""
    return cast(np.ndarray, _read(path, _single_array, "a .npy file of a plain array, as numpy.save writes it"))


def _read(path: Path, read: Callable[[BinaryIO], Any], expected: str) -> Any:
    try:
        # numpy's advice on headers, and Python's on the numbers in them, is for whoever wrote the file.
        with open_file(path) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read(file)
    except OSError as error:
        raise NoArrays(error.strerror or str(error)) from error
    except _UNREADABLE as error:
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise NoArrays(f"not {expected} ({reason})") from error


def _single_array(file: BinaryIO) -> np.ndarray:
    size = size_of(file)
    if size > _MOST_BYTES:
        raise NoArrays(f"its array takes {size >> 20} MB; at most {_MOST_BYTES >> 20} MB are read")
    return _array(file, size, "the array")


def _arrays(file: BinaryIO) -> Dict[str, np.ndarray]:
    if file.read(len(_MAGIC)) == _MAGIC:
        raise ValueError("a single unnamed array, as numpy.save writes it")
    _check_directory(file)
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        size = sum(member.file_size for member in members)
        if size > _MOST_BYTES:
            raise NoArrays(f"its arrays take {size >> 20} MB unpacked; at most {_MOST_BYTES >> 20} MB are read")
        found: Dict[str, np.ndarray] = {}
        for member in members:
            name = member.filename
            name = name[: -len(_SUFFIX)] if name.endswith(_SUFFIX) else name
            with archive.open(member) as packed:
                found[name] = _array(packed, member.file_size, name)
        return found


def _check_directory(file: BinaryIO) -> None:
    """Raise NoArrays if the archive's directory is larger than any that numpy.savez writes."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _END_SIZE - (1 << 16)))
    tail = file.read()
    at = tail.rfind(_END)
    if at >= 0 and len(tail) - at >= _END_SIZE:
        (listed,) = struct.unpack("<L", tail[at + 12 : at + 16])
        if listed > _MOST_DIRECTORY:
            raise NoArrays(f"a list of its arrays of {listed >> 10} KB; at most 1024 KB are read")
    file.seek(0)


def _array(packed: Any, size: int, name: str) -> np.ndarray:
    """Read one member of the archive; its header is checked against its size before memory is allocated."""
    start = packed.read(12)
    if start[:6] != _MAGIC or len(start) < 12:
        raise ValueError(f"{name}: not a numpy array")
    width = 2 if start[6] == 1 else 4
    (length,) = struct.unpack("<H" if width == 2 else "<L", start[8 : 8 + width])
    if length > _MOST_HEADER:
        raise ValueError(f"{name}: a header of {length} bytes; at most {_MOST_HEADER} are read")
    header = start + packed.read(8 + width + length - len(start))
    stream = io.BytesIO(header)
    version = npy.read_magic(stream)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    if version == (3, 0):  # as 2.0, and in UTF-8, which only names of fields need
        raise ValueError(f"{name}: an array with fields; expected numbers or strings")
    shape, in_columns, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError(f"{name}: objects, which are not unpickled; strings are arrays of dtype S, not objects")
    count = 1
    for length in shape:
        count *= length
    if min(shape, default=0) < 0 or count * dtype.itemsize != size - len(header):
        raise ValueError(f"{name}: {dtype} of shape {shape} does not take the {size - len(header)} bytes that it has")
    content = packed.read()
    if len(content) != size - len(header):
        raise ValueError(f"{name}: cut off")
    if not dtype.itemsize and count > _MOST_EMPTY:
        raise ValueError(f"{name}: {count} texts of no length")
    flat = np.frombuffer(content, dtype, count) if content else np.zeros(count, dtype)
    return np.array(flat.reshape(shape, order="F" if in_columns else "C"), order="C")
