"""Nodes that fix the batch size of a graph: constants and reshapes with the batch size of the training."""

from __future__ import annotations

from typing import Collection, List, Optional, Sequence, Set

from ckpt2saved.graph.names import Ref
from ckpt2saved.graph.ops import ENTERS, is_random
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.graph.traversal import last
from ckpt2saved.inspection.training_graph import TrainingGraph

_THROUGH = ENTERS + ("Identity",)


def fixed_to_batch(training: TrainingGraph, outputs: Sequence[Ref], inputs: Sequence[Ref], batch: int) -> List[str]:
    """The nodes that fix the batch size: constants of that length combined with data, and reshapes."""
    graph = training.graph
    reached = graph.upstream(outputs, inputs)
    data = graph.downstream(inputs)
    not_of_batch = data | graph.behind(training.variables) | set(training.variables)
    random = [name for name, node in graph.nodes.items() if is_random(node.op)]
    not_of_batch |= graph.behind(random)
    found: List[str] = []
    for name in sorted(reached & data):
        node = graph[name]
        for number, given in enumerate(node.inputs):
            ref = last(given, lambda one: _passed(training, one, data))
            maker = graph.maker(ref)
            if maker.name in not_of_batch or ref in inputs:
                continue
            shape = graph.tensor(ref).shape
            to_a_multiple = node.op == "Reshape" and number == 1 and _first_value(training, ref) % batch == 0
            if to_a_multiple or (shape and shape[0] == batch and _is_of_batch(node.op, number)):
                found.append(name if to_a_multiple else maker.name)
    return list(dict.fromkeys(found))


def _passed(training: TrainingGraph, ref: Ref, data: Set[str]) -> List[Ref]:
    """The input that a node passes on, if it does not depend on the data."""
    maker = training.graph.maker(ref)
    return maker.inputs[:1] if maker.op in _THROUGH and maker.name not in data else []


def batch_of_states(training: TrainingGraph, outputs: Sequence[Ref], inputs: Sequence[Ref]) -> Optional[int]:
    """The batch size of the constant initial states of loops over the data, if all have the same first size."""
    graph = training.graph
    reached = graph.upstream(outputs, inputs)
    sizes: Set[Optional[int]] = set()
    for name in reached & graph.downstream(inputs):
        node = graph[name]
        for ref in node.inputs if node.op == "Merge" else ():
            maker = graph.maker(ref)
            if maker.op == "Enter" and graph.maker(maker.inputs[0]).op in ("Const", "Fill"):
                shape = graph.tensor(maker.inputs[0]).shape
                sizes.update(shape[:1] if shape and len(shape) > 1 else ())
    (size,) = sizes if len(sizes) == 1 else (None,)
    return size


def _is_of_batch(op: str, number: int) -> bool:
    """Whether the first dimension of this input is the batch dimension; that of a bias, for example, is channels."""
    return op not in ("BiasAdd", "Conv2D", "MatMul", "Transpose", "Reshape", "ConcatV2", "StridedSlice", "Tile", "Pad")


def _first_value(training: TrainingGraph, ref: Ref) -> int:
    """The first size of a constant shape; 1 if it is computed or -1: 1 is never a multiple of the batch size."""
    maker = training.graph.maker(ref)
    values: Collection[int] = ()
    if maker.op == "Const":
        values = tf.make_ndarray(maker.attr["value"].tensor).reshape(-1).tolist()
    elif maker.op == "Pack":
        first = training.graph.maker(maker.inputs[0])
        values = tf.make_ndarray(first.attr["value"].tensor).reshape(-1).tolist() if first.op == "Const" else ()
    first_value = list(values)[0] if values else 1
    return first_value if first_value > 0 else 1
