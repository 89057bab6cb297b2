"""The signatures of a SavedModel, read from its saved_model.pb without TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Dict, Optional, Tuple

from ckpt2saved.checkpoint.index import read_shape
from ckpt2saved.errors import ServingError
from ckpt2saved.files.reading import open_file, size_of
from ckpt2saved.protobuf.wire import Malformed, Span, fields, integer, mapped, text
from ckpt2saved.saved_model.graph_facts import LARGEST_PROTOBUF
from ckpt2saved.saved_model.meta_graph import find_served

# Fields of the messages MetaGraphDef, SignatureDef and TensorInfo.
_SIGNATURES = 5
_INPUTS, _OUTPUTS = 1, 2
_NAME, _DTYPE, _SHAPE = 1, 2, 3

_INT64 = 9
# What the name of a signature begins with that an export adds for warm-up requests alone, and its one output.
WARMUP = "warmup"


@dataclass(frozen=True)
class SavedTensor:
    """An input or output as a signature has it."""

    key: str
    name: str  # "" if it is bound as a whole SparseTensor, which TF Serving can't fetch
    data_type: int  # TensorFlow's DataType
    shape: Optional[Tuple[int, ...]]  # None: of any rank; -1: any size

    @property
    def is_int64(self) -> bool:
        return self.data_type == _INT64


@dataclass(frozen=True)
class SavedSignature:
    """One of the questions that a SavedModel answers."""

    name: str
    inputs: Tuple[SavedTensor, ...]
    outputs: Tuple[SavedTensor, ...]


def is_for_warmup(signature: SavedSignature) -> bool:
    """Whether an export added the signature so that a warm-up request depends on all variables; no client asks it."""
    return signature.name.startswith(WARMUP) and [tensor.key for tensor in signature.outputs] == [WARMUP]


def read_signatures(version_dir: Path) -> Dict[str, SavedSignature]:
    """Name -> signature of the meta graph that TF Serving would load."""
    path = version_dir / "saved_model.pb"
    try:
        with open_file(path, LARGEST_PROTOBUF) as file:
            served = find_served(file, size_of(file)).served
            if served is None:
                return {}
            return {name: _signature(file, name, at) for name, at in mapped(file, served, _SIGNATURES)}
    except FileNotFoundError:
        raise ServingError(
            f"{path}: missing, and the signatures of a saved_model.pbtxt are not read here; publish the SavedModel in"
            " its binary form"
        ) from None
    except (Malformed, OSError) as error:
        reason = getattr(error, "strerror", None) or "cut off, or no SavedModel"
        raise ServingError(f"{path}: its signatures can't be read: {reason}; export it again") from error


def _signature(file: BinaryIO, name: str, span: Span) -> SavedSignature:
    sides = (
        tuple(sorted((_tensor(file, key, at) for key, at in mapped(file, span, side)), key=lambda tensor: tensor.key))
        for side in (_INPUTS, _OUTPUTS)
    )
    return SavedSignature(name, *sides)


def _tensor(file: BinaryIO, key: str, span: Span) -> SavedTensor:
    name = ""
    dtype = 0
    shape: Optional[Tuple[int, ...]] = ()
    for number, at in fields(file, *span):
        if number == _NAME:
            name = text(file, at)
        elif number == _DTYPE:
            dtype = integer(file, at)
        elif number == _SHAPE:
            shape = read_shape(file, at)
    return SavedTensor(key, name, dtype, shape)
