"""Under which names, and as which parts of a whole, the Savers of a training's graph save its variables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Tuple

from ckpt2saved.tf1 import tf

_VARIABLES = ("Variable", "VariableV2", "VarHandleOp")
_STEPS = ("Identity", "RefIdentity", "ReadVariableOp")


@dataclass(frozen=True)
class Saved:
    """A tensor of a checkpoint, or the slice of it, that a variable is saved as."""

    key: str
    slice: str = (
        ""  # as SaveV2 and RestoreV2 want it: the whole's sizes, then start,size of each axis; "" for all of it
    )

    @property
    def whole(self) -> Optional[Tuple[int, ...]]:
        """The shape of the tensor of which this is a slice."""
        return tuple(int(size) for size in self.slice.split()[:-1]) if self.slice else None


def saved_as(graph_def: Any) -> Mapping[str, List[Saved]]:
    """What each variable is saved as, by the Savers of a graph: a partitioned one is saved in parts of one tensor."""
    nodes = {node.name: node for node in graph_def.node}
    found: Dict[str, List[Saved]] = {}
    for node in graph_def.node:
        if node.op not in ("SaveV2", "SaveSlices"):
            continue
        inputs = [name for name in node.input if not name.startswith("^")]
        if len(inputs) < 3:
            continue
        keys, slices = constant_texts(nodes, inputs[1]), constant_texts(nodes, inputs[2])
        for key, part, name in zip(keys, slices, inputs[3:]):
            variable = variable_of(nodes, name)
            if variable and Saved(key, part) not in found.setdefault(variable, []):
                found[variable].append(Saved(key, part))
    return found


def constant_texts(nodes: Mapping[str, Any], name: str) -> List[str]:
    """The texts of a constant; none where a tensor is no constant."""
    node = nodes.get(name.partition(":")[0])
    if node is None or node.op != "Const":
        return []
    values = tf.make_ndarray(node.attr["value"].tensor).reshape(-1).tolist()
    return [value.decode("utf-8", "replace") for value in values if isinstance(value, bytes)]


def variable_of(nodes: Mapping[str, Any], name: str) -> str:
    """The variable that a tensor is, or is read from, or ""."""
    for _ in range(10):
        node = nodes.get(name.partition(":")[0])
        if node is None:
            return ""
        if node.op in _VARIABLES:
            return node.name
        if node.op not in _STEPS:
            return ""
        name = node.input[0]
    return ""
