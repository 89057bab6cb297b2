"""The tensors that a model takes and answers, and the signatures that they make up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple, Union

DTYPES = (
    "bfloat16 bool complex64 complex128 float16 float32 float64 "
    "int8 int16 int32 int64 string uint8 uint16 uint32 uint64"
).split()
LARGEST_SIZE = 2**63 - 1

Dimension = Union[int, str]  # a size, or the name of one that a request may choose


@dataclass(frozen=True)
class TensorSpec:
    """A tensor as clients see it, `key`, and as the graph calls it, `tensor`."""

    key: str
    tensor: str
    dtype: str  # "": as in the graph, which a command line need not say
    shape: Optional[Tuple[Dimension, ...]]  # None: as in the graph


@dataclass(frozen=True)
class Signature:
    """What a request can ask of a served model: the tensors that it feeds, and those that answer it."""

    name: str
    inputs: Tuple[TensorSpec, ...]
    outputs: Tuple[TensorSpec, ...]
