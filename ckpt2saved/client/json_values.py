"""Convert arrays to the JSON of TF Serving's REST API and back."""

from __future__ import annotations

import base64
import itertools
from typing import Any, List, Tuple

import numpy as np

_TYPES = {"f": (float, int), "i": (int,), "u": (int,), "b": (bool,)}  # numpy kind -> types of parsed JSON values
_MOST_AXES = 32  # limit of numpy
_BASE64 = "b64"  # key of a JSON object that holds bytes


def to_json(array: np.ndarray) -> Any:
    """The array as nested lists; strings always as base64, which can hold any bytes."""
    if array.dtype.kind in "OSU":
        return _each(array.tolist(), lambda text: {_BASE64: base64.b64encode(_bytes(text)).decode("ascii")})
    return array.tolist()


def from_json(values: Any, dtype: np.dtype) -> np.ndarray:
    """The array of nested lists; raises ValueError if the values do not have this dtype.

    For an empty tensor, JSON holds only the dimensions up to the first 0.
    """
    flat, shape = _flat(values)
    if dtype.kind == "O":
        array = np.empty([len(flat)], object)  # numpy's fixed-width strings would lose trailing zero bytes
        array[:] = [_text(value) for value in flat]
        return array.reshape(shape)
    if not set(map(type, flat)) <= set(_TYPES.get(dtype.kind, ())):  # True is an int too
        raise ValueError(f"values that are not {dtype.name}")
    try:
        with np.errstate(over="ignore"):
            return np.array(flat, dtype).reshape(shape)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"values out of range ({error})") from None


def _flat(values: Any) -> Tuple[List[Any], List[int]]:
    """Values and shape of nested lists; raises ValueError if their lengths differ."""
    shape: List[int] = []
    flat = [values]
    while flat and any(type(value) is list for value in flat):
        if len({len(row) if type(row) is list else None for row in flat}) > 1:
            raise ValueError("lists of unequal lengths")
        if len(shape) == _MOST_AXES:
            raise ValueError(f"lists that are nested more than {_MOST_AXES} deep")
        shape.append(len(flat[0]))
        flat = list(itertools.chain.from_iterable(flat))
    return flat, shape


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
