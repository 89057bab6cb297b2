"""The checkpoint names and slices under which the Savers of a training graph save its variables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Tuple

from ckpt2saved.graph.graph_def import constant_texts, variable_of


@dataclass(frozen=True)
class Saved:
    """The checkpoint tensor, or slice of it, that a variable is saved as."""

    key: str
    slice: str = ""  # in RestoreV2's format: sizes of the tensor, then start,size for each axis; "" for all of it

    @property
    def whole(self) -> Optional[Tuple[int, ...]]:
        """Return the shape of the complete tensor."""
        return tuple(int(size) for size in self.slice.split()[:-1]) if self.slice else None


def saved_as(graph_def: Any) -> Mapping[str, List[Saved]]:
    """Return variable -> how the graph's Savers save it; partitioned variables are slices of one tensor."""
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
