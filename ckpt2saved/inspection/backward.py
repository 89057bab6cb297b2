"""The backward pass of a training's graph: gradients, the optimizer's steps, and all that is computed of them."""

from __future__ import annotations

import re
from typing import Any, Dict, List, Sequence, Set, Tuple

_GRADIENTS = re.compile(r"(.*/)?(gradients(_[0-9]+)?|gradient_tape)/")
_GRADIENT_OP = re.compile(r"\w*(Grad|GradV[0-9]|Backprop\w*|BackpropV[0-9])\Z")
UPDATE = re.compile(r"(Resource)?(Sparse)?Apply[A-Z]\w*\Z")
# A functional loop of the forward pass takes the empty lists that its gradient wants filled. They are made in the
# gradients' scope, as large as the loop may be long: an empty list is no gradient, whatever its size is made of.
_FORWARD_ALL_THE_SAME = ("EmptyTensorList", "TensorListReserve", "NextIteration")


def is_gradient(node: Any) -> bool:
    """Whether a node is of the gradients or the optimizer's steps, by its name and op."""
    return bool(_GRADIENTS.match(node.name) or _GRADIENT_OP.match(node.op) or UPDATE.match(node.op))


def backward_nodes(nodes: Sequence[Any]) -> Tuple[Set[str], Set[str]]:
    """The nodes of the backward pass, of NodeDefs; and of these the ones that can be left out of the graph.

    The second is empty where the forward pass takes something of them after all.
    """
    ops = {node.name: node.op for node in nodes}
    sources = {node.name: _sources(node) for node in nodes}
    takers = {}  # type: Dict[str, List[str]]
    for name, names in sources.items():
        for source in names:
            takers.setdefault(source, []).append(name)
    gradients = {node.name for node in nodes if is_gradient(node) and node.op not in _FORWARD_ALL_THE_SAME[:2]}
    forward = [node.name for node in nodes if node.name not in gradients and node.op != "Const"]
    # What is made of constants alone in the gradients' scope is no gradient yet.
    depending = gradients & _behind(forward, takers, ops, ())
    behind = _behind(depending, takers, ops, _FORWARD_ALL_THE_SAME)
    spare = depending | behind
    if any(name not in spare and not spare.isdisjoint(names) for name, names in sources.items()):
        spare = set()
    return gradients | behind, spare


def _sources(node: Any) -> Set[str]:
    found = set()
    for name in node.input:
        if name.startswith("^"):
            break  # control inputs come last
        found.add(name.partition(":")[0])
    return found


def _behind(starts: Any, takers: Dict[str, List[str]], ops: Dict[str, str], ends: Sequence[str]) -> Set[str]:
    """The nodes that take something of `starts`, and so on; not those of the ops in `ends`."""
    reached = set()  # type: Set[str]
    ahead = list(starts)
    while ahead:
        for name in takers.get(ahead.pop(), ()):
            if name not in reached and ops[name] not in ends:
                reached.add(name)
                ahead.append(name)
    return reached
