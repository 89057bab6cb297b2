"""The mark of a warm-up request for outputs that batching cannot split: a number that no client sends.

A server prepares a graph for each set of inputs and outputs when it is first asked for, so only a request for all of
them spares clients that wait. A graph that finds the mark answers with outputs that have a row for each line.
"""

from __future__ import annotations

from typing import Dict, Optional

import numpy as np

from ckpt2saved.requests.request import Inputs
from ckpt2saved.signature.tensors import Signature

# About 1.1e-30: exact in float32, no subnormal number, and as good as zero for a network.
MARK = float.fromhex("0x1.5a3c7p-100")

_MARKABLE = ("float32", "float64")
# Outputs of these types can be made in the graph by every TensorFlow that is supported.
_ANSWERS = "bool complex128 complex64 float16 float32 float64 int16 int32 int64 int8 string uint16 uint8".split()


def markable_input(signature: Signature) -> Optional[str]:
    """Key of the input that takes the mark; None if the signature has no such input, or outputs of another type."""
    if not all(spec.dtype in _ANSWERS for spec in signature.outputs):
        return None
    return next((spec.key for spec in signature.inputs if spec.dtype in _MARKABLE), None)


def marked(inputs: Inputs, key: str) -> Dict[str, np.ndarray]:
    """The inputs with the mark as first value of each line of the input `key`: a server may split a batch."""
    return {**inputs, key: _with_first(inputs[key], MARK)}


def is_marked(inputs: Inputs) -> bool:
    """Whether an input begins with the mark."""
    return any(_begins_with_mark(value) for value in inputs.values())


def without_mark(inputs: Inputs) -> Dict[str, np.ndarray]:
    """The inputs with a zero in place of each mark, as a client may send them."""
    return {key: _with_first(value, 0.0) if _begins_with_mark(value) else value for key, value in inputs.items()}


def _begins_with_mark(value: np.ndarray) -> bool:
    return value.dtype.name in _MARKABLE and value.size > 0 and value.flat[0] == MARK


def _with_first(value: np.ndarray, first: float) -> np.ndarray:
    found = np.array(value)
    if found.size:
        found.reshape(len(found), -1)[:, 0] = first
    return found
