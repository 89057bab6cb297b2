"""The backward pass of a training graph: gradients, optimizer steps, and everything computed from them."""

from __future__ import annotations

import re
from typing import Any, Collection, FrozenSet, Iterable, List, Set

from ckpt2saved.graph.ops import PLACEHOLDERS, VARIABLES, is_gradient, is_update
from ckpt2saved.graph.traversal import behind, reversed_edges

_GRADIENTS = re.compile(r"(?<![^/])(gradients(_[0-9]+)?|gradient_tape)/")
# The backward pass creates none of these: a scope that holds them is part of the network, whatever its name.
_OF_NETWORKS = VARIABLES + PLACEHOLDERS
# A functional loop of the forward pass takes empty lists, which it fills for its gradient. They are created in the
# scope of the gradients, but belong to the forward pass, whatever their sizes are computed from.
_EMPTY_LISTS = ("EmptyTensorList", "TensorListReserve")
_STILL_FORWARD = _EMPTY_LISTS + ("NextIteration",)


def is_backward(name: str, op: str, networks: Collection[str] = ()) -> bool:
    """Whether a node computes a gradient or updates a variable with one, by its name and op.

    `networks` are scopes that are known to hold a network although they are named like gradients, as
    `tower/gradients/`. Of their nodes only those in a scope of tf.gradients, as `tower/gradients/logits_grad/MatMul`,
    are gradients.
    """
    if is_gradient(op) or is_update(op):
        return True
    if "gradient" not in name:
        return False
    return any(scope not in networks or "_grad/" in name[len(scope) :] for scope in _scopes(name))


class BackwardPass:
    """The backward pass of a graph: its `nodes`, and `spare`, those that can be left out of the graph.

    `spare` is empty where the forward pass depends on these nodes. `of` are the nodes of a graph,
    with a `name`, an `op` and `sources`, the names of the nodes whose tensors they take.
    """

    def __init__(self, of: Iterable[Any]) -> None:
        of = list(of)
        ops = {node.name: node.op for node in of}
        sources = {node.name: node.sources for node in of}
        takers = reversed_edges(sources)
        networks = {scope for node in of if node.op in _OF_NETWORKS for scope in _scopes(node.name)}
        gradients = {
            node.name for node in of if node.op not in _EMPTY_LISTS and is_backward(node.name, node.op, networks)
        }
        forward = [name for name, op in ops.items() if name not in gradients and op != "Const"]
        # Nodes in the scope of the gradients that are computed from constants alone do not count.
        depending = gradients & behind(forward, lambda name: takers.get(name, ()))
        following = behind(
            depending, lambda name: [one for one in takers.get(name, ()) if ops[one] not in _STILL_FORWARD]
        )
        spare = depending | following
        if any(name not in spare and not spare.isdisjoint(names) for name, names in sources.items()):
            spare = set()
        self.nodes: FrozenSet[str] = frozenset(gradients | following)
        self.spare: FrozenSet[str] = frozenset(spare)


def _scopes(name: str) -> List[str]:
    """The scopes around a node that are named like scopes of gradients."""
    return [name[: match.end()] for match in _GRADIENTS.finditer(name)] if "gradient" in name else []


def differentiated(names: Iterable[str], nodes: Collection[str]) -> Set[str]:
    """The nodes in `nodes` whose gradients are among `names`.

    tf.gradients puts the gradients of NODE into the scope `gradients/NODE_grad/`.
    """
    found: Set[str] = set()
    for name in names:
        parts = name.split("/")
        for start in (number for number, part in enumerate(parts) if part.startswith("gradients")):
            for end in range(start + 1, len(parts)):
                if parts[end].endswith("_grad"):
                    node = "/".join(parts[start + 1 : end] + [parts[end][: -len("_grad")]])
                    # Inside a function that was inlined the node has the function's scope before its own.
                    found.update(one for one in (node, "/".join(parts[:start] + [node])) if one in nodes)
    return found
