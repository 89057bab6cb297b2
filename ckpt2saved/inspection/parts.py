"""Nodes that split a tensor, and the dimensions that they split: a batch for several towers, or views of a picture."""

from __future__ import annotations

from typing import Any, FrozenSet, Optional

from ckpt2saved.graph.graph import Node
from ckpt2saved.graph.names import Ref
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.inspection.training_graph import TrainingGraph

_SPLITS = ("Split", "SplitV", "Unpack")
_SLICES = ("Slice", "StridedSlice")
PARTS = _SPLITS + _SLICES


def data_of(node: Node) -> Ref:
    """The tensor that a node of PARTS splits."""
    return node.inputs[1 if node.op == "Split" else 0]


def is_part(training: TrainingGraph, node: Node) -> bool:
    """Whether a node computes one of several parts of a tensor."""
    if node.op in _SPLITS:
        return len(training.outputs(node)) > 1
    if node.op not in _SLICES:
        return False
    data = [taker for taker in training.graph.users(node.inputs[0]) if training.computes(taker)]
    return sum(taker.op == node.op for taker in data) > 1


def cut_axes(training: TrainingGraph, node: Node) -> FrozenSet[int]:
    """The dimensions that a node splits; 0, the batch dimension, if the graph does not show them."""
    rank = training.graph.tensor(data_of(node)).rank
    if node.op in ("Split", "SplitV"):
        axis = _constant(training, node.inputs[0 if node.op == "Split" else 2])
        return _counted([0 if axis is None else int(axis)], rank)
    if node.op == "Unpack":
        return _counted([node.attr["axis"].i if "axis" in node.attr else 0], rank)
    begin, size = [_constant(training, ref) for ref in node.inputs[1:3]]
    if node.op == "Slice":
        if begin is None or size is None:
            return frozenset([0])
        pairs = zip(begin.reshape(-1).tolist(), size.reshape(-1).tolist())
        return frozenset(axis for axis, (first, count) in enumerate(pairs) if first != 0 or count != -1)
    return _strided(node, rank, begin, size)


def _strided(node: Node, rank: Optional[int], begin: Any, end: Any) -> FrozenSet[int]:
    """The dimensions that a StridedSlice does not take completely."""
    known = begin if begin is not None else end
    if known is None:
        return frozenset([0])
    names = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask")
    first, last, rest, new = [node.attr[name].i if name in node.attr else 0 for name in names]
    bits = [1 << position for position in range(known.size) if not new >> position & 1]
    rests = [number for number, bit in enumerate(bits) if rest & bit]
    found = []
    for number, bit in enumerate(bits):
        if number not in rests and not (first & bit and last & bit):
            found.append(number - len(bits) if rests and number > rests[0] else number)
    return _counted(found, rank)


def _counted(axes: Any, rank: Optional[int]) -> FrozenSet[int]:
    """The axes without negative numbers, if the rank is known."""
    return frozenset(axis + rank if axis < 0 and rank is not None else axis for axis in axes)


def _constant(training: TrainingGraph, ref: Ref) -> Any:
    maker = training.graph.maker(ref)
    return tf.make_ndarray(maker.attr["value"].tensor) if maker.op == "Const" else None
