"""Sizes that a graph can't do without: constants as long as the batch of the training."""

from __future__ import annotations

from typing import Collection, List, Optional, Sequence, Set

from ckpt2saved.graph.ops import is_random
from ckpt2saved.inspection.network import Network
from ckpt2saved.tf1 import tf

_THROUGH = ("Enter", "RefEnter", "Identity")


def fixed_to_batch(network: Network, outputs: Sequence[str], inputs: Sequence[str], batch: int) -> List[str]:
    """The nodes that hold the batch fast: constants of its length which meet the data, and reshapes to a multiple."""
    reached = network.flow.upstream(outputs, inputs)
    data = network.flow.downstream(inputs)
    weights = network.flow.downstream([node.outputs[0].name for node in network.variables.values()])
    random = network.flow.downstream(
        [output.name for node in network.flow.nodes.values() if is_random(node.op) for output in node.outputs]
    )
    found: List[str] = []
    for name in sorted(reached & data):
        node = network.flow.nodes[name]
        for number, tensor in enumerate(node.inputs):
            maker = network.flow.maker(tensor)
            while maker.op in _THROUGH and maker.name not in data:
                tensor = maker.inputs[0]
                maker = network.flow.maker(tensor)
            if (
                maker.name in random
                or maker.name in data
                or maker.name in weights
                or tensor in inputs
                or maker.name in network.variables
            ):
                continue
            shape = network.flow.tensor(tensor).shape
            to_a_multiple = node.op == "Reshape" and number == 1 and _first_value(network, tensor) % batch == 0
            if to_a_multiple or (shape and shape[0] == batch and _is_of_batch(node.op, number)):
                found.append(name if to_a_multiple else maker.name)
    return list(dict.fromkeys(found))


def batch_of_states(network: Network, outputs: Sequence[str], inputs: Sequence[str]) -> Optional[int]:
    """The batch of the constants that loops over the data begin with, where all have the same first size."""
    reached = network.flow.upstream(outputs, inputs)
    sizes: Set[Optional[int]] = set()
    for name in reached & network.flow.downstream(inputs):
        node = network.flow.nodes[name]
        for tensor in node.inputs if node.op == "Merge" else ():
            maker = network.flow.maker(tensor)
            if maker.op == "Enter" and network.flow.maker(maker.inputs[0]).op in ("Const", "Fill"):
                shape = network.flow.tensor(maker.inputs[0]).shape
                sizes.update(shape[:1] if shape and len(shape) > 1 else ())
    (size,) = sizes if len(sizes) == 1 else (None,)
    return size


def _is_of_batch(op: str, number: int) -> bool:
    """Whether the first size of this input counts lines, not channels, as that of a bias does."""
    return op not in ("BiasAdd", "Conv2D", "MatMul", "Transpose", "Reshape", "ConcatV2", "StridedSlice", "Tile", "Pad")


def _first_value(network: Network, tensor: str) -> int:
    """The first number of a constant shape; 1, which is no multiple of a batch, where it is computed or left open."""
    maker = network.flow.maker(tensor)
    values: Collection[int] = ()
    if maker.op == "Const":
        values = tf.make_ndarray(maker.attr["value"].tensor).reshape(-1).tolist()
    elif maker.op == "Pack":
        first = network.flow.maker(maker.inputs[0])
        values = tf.make_ndarray(first.attr["value"].tensor).reshape(-1).tolist() if first.op == "Const" else ()
    first_value = list(values)[0] if values else 1
    return first_value if first_value > 0 else 1
