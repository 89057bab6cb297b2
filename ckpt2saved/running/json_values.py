"""Tensors as the JSON of TF Serving's REST API, and back."""

from __future__ import annotations

import base64
from typing import Any, Tuple

import numpy as np

_TYPES = {"f": (float, int), "i": (int,), "u": (int,), "b": (bool,)}  # numpy's kind -> what JSON is read as
_BASE64 = "b64"  # the key of an object that stands for bytes


def to_json(array: np.ndarray) -> Any:
    """Nested lists of numbers; strings always as base64, which holds any bytes."""
    if array.dtype.kind in "OSU":
        return _each(array.tolist(), lambda text: {_BASE64: base64.b64encode(_bytes(text)).decode("ascii")})
    return array.tolist()


def from_json(values: Any, dtype: np.dtype) -> np.ndarray:
    """The array of nested lists; raises ValueError where they are none of this dtype.

    Of a tensor without elements JSON shows only the sizes up to the first 0.
    """
    if dtype.kind == "O":
        return _objects(_each(values, _text))
    types = _TYPES.get(dtype.kind, ())
    if not _are(values, types):
        raise ValueError("values that are not {}".format(dtype.name))
    try:
        with np.errstate(over="ignore"):
            return np.array(values, dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError("lists of unequal lengths, or values out of range ({})".format(error)) from None


def _are(values: Any, types: Tuple[type, ...]) -> bool:
    if isinstance(values, list):
        return all(_are(value, types) for value in values)
    return type(values) in types  # True is an int too


def _each(values: Any, change: Any) -> Any:
    return [_each(value, change) for value in values] if isinstance(values, list) else change(values)


def _text(value: Any) -> bytes:
    if isinstance(value, dict) and isinstance(value.get(_BASE64), str):
        try:
            return base64.b64decode(value[_BASE64], validate=True)
        except ValueError:
            raise ValueError("a text that is not base64") from None
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    raise ValueError("values that are not strings")


def _bytes(text: Any) -> bytes:
    return text if isinstance(text, bytes) else str(text).encode("utf-8")


def _objects(values: Any) -> np.ndarray:
    """numpy would take nested lists of bytes for fixed-width strings, which lose zeros at their ends."""
    shape, level = [], values
    while isinstance(level, list):
        shape.append(len(level))
        level = level[0] if level else None
    flat = [values]
    for _ in shape:
        if len({len(row) if isinstance(row, list) else None for row in flat}) > 1:
            raise ValueError("lists of unequal lengths")
        flat = [value for row in flat for value in row]
    array = np.empty([len(flat)], object)
    array[:] = flat
    return array.reshape(shape)
