"""The backward pass of a training's graph: gradients, the optimizer's steps, and all that is computed of them."""

from __future__ import annotations

import re
from typing import Any, Collection, FrozenSet, Iterable, List, Set

from ckpt2saved.graph.ops import PLACEHOLDERS, VARIABLES, is_gradient, is_update
from ckpt2saved.graph.traversal import behind, reversed_edges

_GRADIENTS = re.compile(r"(?<![^/])(gradients(_[0-9]+)?|gradient_tape)/")
# No gradient is made of these: a scope that holds them is named like one of gradients, and is a part of the network.
_OF_NETWORKS = VARIABLES + PLACEHOLDERS
# A functional loop of the forward pass takes the empty lists that its gradient wants filled. They are made in the
# gradients' scope, as large as the loop may be long: an empty list is no gradient, whatever its size is made of.
_EMPTY_LISTS = ("EmptyTensorList", "TensorListReserve")
_FORWARD_ALL_THE_SAME = _EMPTY_LISTS + ("NextIteration",)


def is_backward(name: str, op: str, networks: Collection[str] = ()) -> bool:
    """Whether a node computes a gradient or updates a variable with one, by its name and op.

    `networks` are scopes that are known to hold a network, whatever they are called, as in `tower/gradients/`. Of the
    nodes in there only those are gradients that tf.gradients calls so, as in `tower/gradients/logits_grad/MatMul`.
    """
    if is_gradient(op) or is_update(op):
        return True
    if "gradient" not in name:
        return False
    return any(scope not in networks or "_grad/" in name[len(scope) :] for scope in _scopes(name))


class BackwardPass:
    """The backward pass of a graph: `nodes` of it, and `spare`, those of them that can be left out of the graph.

    Nothing is spare where the forward pass takes something of these nodes after all. `of` are the nodes of a graph,
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
        # What is made of constants alone in the gradients' scope is no gradient yet.
        depending = gradients & behind(forward, lambda name: takers.get(name, ()))
        following = behind(
            depending, lambda name: [one for one in takers.get(name, ()) if ops[one] not in _FORWARD_ALL_THE_SAME]
        )
        spare = depending | following
        if any(name not in spare and not spare.isdisjoint(names) for name, names in sources.items()):
            spare = set()
        self.nodes: FrozenSet[str] = frozenset(gradients | following)
        self.spare: FrozenSet[str] = frozenset(spare)


def _scopes(name: str) -> List[str]:
    """The scopes around a node that are named like those of gradients."""
    return [name[: match.end()] for match in _GRADIENTS.finditer(name)] if "gradient" in name else []


def differentiated(names: Iterable[str], nodes: Collection[str]) -> Set[str]:
    """Those of `nodes` whose gradients are among `names`.

    tf.gradients puts the gradients of NODE into the scope `gradients/NODE_grad/`.
    """
    found: Set[str] = set()
    for name in names:
        parts = name.split("/")
        for start in (number for number, part in enumerate(parts) if part.startswith("gradients")):
            for end in range(start + 1, len(parts)):
                if parts[end].endswith("_grad"):
                    node = "/".join(parts[start + 1 : end] + [parts[end][: -len("_grad")]])
                    # Inside of a function that was inlined the node has the function's scope before its own.
                    found.update(one for one in (node, "/".join(parts[:start] + [node])) if one in nodes)
    return found
