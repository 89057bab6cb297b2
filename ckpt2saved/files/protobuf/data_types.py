"""TensorFlow's data types: numbers, names and numpy dtypes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

# tensorflow/core/framework/types.proto, from number 1 on.
_NAMES = (
    "float32 float64 int32 uint8 int16 int8 string complex64 int64 bool qint8 quint8 qint32 bfloat16 qint16 "
    "quint16 uint16 complex128 float16 resource variant uint32 uint64 float8_e5m2 float8_e4m3fn float8_e4m3fnuz "
    "float8_e4m3b11fnuz float8_e5m2fnuz int4 uint4 int2 uint2 float4_e2m1fn"
).split()
_NUMBERS = {name: number for number, name in enumerate(_NAMES, start=1)}
_REFERENCE = 100  # offset of the DataTypes of references
_OF_NUMPY = frozenset(
    "float32 float64 int32 uint8 int16 int8 complex64 int64 bool uint16 complex128 float16 uint32 uint64".split()
)

STRING = "string"


def name_of(number: int) -> str:
    """Return the name of a DataType, with the suffix of reference types; "" for 0 (DT_INVALID)."""
    if 1 <= number <= len(_NAMES):
        return _NAMES[number - 1]
    if 1 <= number - _REFERENCE <= len(_NAMES):
        return _NAMES[number - _REFERENCE - 1] + "_ref"
    return f"data type {number}" if number else ""


def number_of(name: str) -> int:
    """Return the number of a non-reference DataType; 0 if unknown."""
    return _NUMBERS.get(name, 0)


def numpy_dtype(name: str) -> np.dtype:
    """Return the numpy dtype for a data type's name (object for strings); raises ValueError if there is none."""
    import numpy as np  # here: the commands about versions name data types, and do not wait for numpy

    if name == STRING:
        return np.dtype(object)
    if name not in _OF_NUMPY:
        raise ValueError(f"TensorFlow's {name or 'data type 0'} has no equal in numpy")
    return np.dtype(name)
