"""Which variables the optimizers in a training's graph update."""

from __future__ import annotations

import re
from typing import Any, FrozenSet

from ckpt2saved.checkpoint.savers import variable_of

_UPDATE = re.compile(r"(Resource)?(Sparse)?Apply[A-Z]\w*\Z")


def is_update(op: str) -> bool:
    """Whether an op is an optimizer's update of a variable."""
    return bool(_UPDATE.match(op))


def trained_variables(graph_def: Any) -> FrozenSet[str]:
    """The nodes of the variables that a step of training changes; none where no optimizer is known to be there."""
    nodes = {node.name: node for node in graph_def.node}
    updated = [node.input[0] for node in graph_def.node if is_update(node.op) and node.input]
    return frozenset(variable_of(nodes, name) for name in updated) - {""}
