"""The signatures of a SavedModel, read from its saved_model.pb without TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Dict, Iterator, Optional, Tuple

from ckpt2saved.errors import ServingError
from ckpt2saved.wire import Malformed, Span, each, fields, integer, text

# Fields of the messages SavedModel, MetaGraphDef, MetaInfoDef, SignatureDef, TensorInfo and TensorShapeProto.
_META_GRAPHS = 2
_META_INFO, _SIGNATURES = 1, 5
_TAGS = 4
_INPUTS, _OUTPUTS = 1, 2
_NAME, _DTYPE, _SHAPE = 1, 2, 3
_DIMENSION, _UNKNOWN_RANK = 2, 3
_SIZE = 1
_KEY, _VALUE = 1, 2  # of a map's entry

_INT64 = 9
# What the name of a signature begins with that an export adds for warm-up requests alone, and its one output.
WARMUP = "warmup"
_SERVED = {"serve"}  # TF Serving takes the meta graph with this tag and no other


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
        with path.open("rb") as file:
            found = {}  # type: Dict[str, SavedSignature]
            for meta_graph in served_meta_graphs(file, path.stat().st_size):
                found.update((name, _signature(file, name, at)) for name, at in _map(file, meta_graph, _SIGNATURES))
            return found
    except FileNotFoundError:
        raise ServingError(
            "{}: missing, and the signatures of a saved_model.pbtxt are not read here; publish the SavedModel in its "
            "binary form".format(path)
        ) from None
    except (Malformed, OSError) as error:
        reason = getattr(error, "strerror", None) or "cut off, or no SavedModel"
        raise ServingError("{}: its signatures can't be read: {}; export it again".format(path, reason)) from error


def served_meta_graphs(file: BinaryIO, size: int) -> Iterator[Span]:
    """Where in a saved_model.pb of `size` bytes the meta graph is that TF Serving would load."""
    for meta_graph in each(file, (0, size), _META_GRAPHS):
        if _tags(file, meta_graph) == _SERVED:
            yield meta_graph


def _tags(file: BinaryIO, meta_graph: Span) -> set:
    return {text(file, tag) for info in each(file, meta_graph, _META_INFO) for tag in each(file, info, _TAGS)}


def _signature(file: BinaryIO, name: str, span: Span) -> SavedSignature:
    sides = (
        tuple(sorted((_tensor(file, key, at) for key, at in _map(file, span, side)), key=lambda tensor: tensor.key))
        for side in (_INPUTS, _OUTPUTS)
    )
    return SavedSignature(name, *sides)


def _tensor(file: BinaryIO, key: str, span: Span) -> SavedTensor:
    name, dtype, shape = "", 0, ()  # type: str, int, Optional[Tuple[int, ...]]
    for number, at in fields(file, *span):
        if number == _NAME:
            name = text(file, at)
        elif number == _DTYPE:
            dtype = integer(file, at)
        elif number == _SHAPE:
            shape = _shape(file, at)
    return SavedTensor(key, name, dtype, shape)


def _shape(file: BinaryIO, span: Span) -> Optional[Tuple[int, ...]]:
    if any(integer(file, at) for at in each(file, span, _UNKNOWN_RANK)):
        return None
    sizes = ([integer(file, at) for at in each(file, one, _SIZE)] for one in each(file, span, _DIMENSION))
    return tuple(size[-1] if size else 0 for size in sizes)


def _map(file: BinaryIO, span: Span, number: int) -> Iterator[Tuple[str, Span]]:
    for entry in each(file, span, number):
        parts = dict(fields(file, *entry))
        yield text(file, parts[_KEY]) if _KEY in parts else "", parts.get(_VALUE, (entry[1], entry[1]))
