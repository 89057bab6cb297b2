"""Sequence lengths of a graph: which tensor limits them."""

from __future__ import annotations

from typing import Dict, Iterator, Optional, Tuple, Union

from ckpt2saved.graph.ops import CTC_DECODERS
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.graph.traversal import reach

# Ops that take lengths -> index of the lengths input, index of the data input, and axis of it that the lengths limit
# (or the attribute with that axis).
_TAKERS: Dict[str, Tuple[int, int, Union[int, str]]] = {
    **dict.fromkeys(CTC_DECODERS, (1, 0, 0)),
    "ReverseSequence": (1, 0, "seq_dim"),
}
_PASSING = ("Identity", "Cast", "Reshape", "StopGradient", "PlaceholderWithDefault", "ToInt32")


def measured(tensor: tf.Tensor) -> Optional[Tuple[str, int]]:
    """Name and axis of the tensor whose size limits the values of `tensor` (sequence lengths), or None."""
    found: Dict[str, Tuple[str, int]] = {}
    graph = tensor.graph

    def following(name: str) -> Iterator[str]:
        for op in graph.get_tensor_by_name(name).consumers():
            if op.type in _TAKERS and op.inputs[_TAKERS[op.type][0]].name == name:
                _, data, axis = _TAKERS[op.type]
                number = op.get_attr(axis) if isinstance(axis, str) else axis
                found.setdefault(op.type, (op.inputs[data].name, number))
            elif op.type in _PASSING:
                yield from (output.name for output in op.outputs)

    reach([tensor.name], following)
    for kind in CTC_DECODERS + tuple(sorted(found)):
        if kind in found:
            return found[kind]
    return None
