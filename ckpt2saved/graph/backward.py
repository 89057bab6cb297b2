"""The backward pass of a training's graph: gradients, the optimizer's steps, and all that is computed of them."""

from __future__ import annotations

import re
from typing import Any, Collection, Dict, Iterable, List, Sequence, Set, Tuple

from ckpt2saved.graph.ops import PLACEHOLDERS, VARIABLES, is_gradient, is_update

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
    return any(scope not in networks or "_grad/" in name[len(scope) :] for scope in _scopes(name))


def backward_nodes(nodes: Iterable[Any]) -> Tuple[Set[str], Set[str]]:
    """The nodes of the backward pass, and of these the ones that can be left out of the graph.

    `nodes` have a `name`, an `op` and `inputs`, which are pairs of a node and the number of its output. The second
    set is empty where the forward pass takes something of these nodes after all.
    """
    nodes = list(nodes)
    ops = {node.name: node.op for node in nodes}
    sources = {node.name: {name for name, _ in node.inputs} for node in nodes}
    takers: Dict[str, List[str]] = {}
    for name, names in sources.items():
        for source in names:
            takers.setdefault(source, []).append(name)
    networks = {scope for node in nodes if node.op in _OF_NETWORKS for scope in _scopes(node.name)}
    gradients = {
        node.name for node in nodes if node.op not in _EMPTY_LISTS and is_backward(node.name, node.op, networks)
    }
    forward = [node.name for node in nodes if node.name not in gradients and node.op != "Const"]
    # What is made of constants alone in the gradients' scope is no gradient yet.
    depending = gradients & _behind(forward, takers, ops, ())
    behind = _behind(depending, takers, ops, _FORWARD_ALL_THE_SAME)
    spare = depending | behind
    if any(name not in spare and not spare.isdisjoint(names) for name, names in sources.items()):
        spare = set()
    return gradients | behind, spare


def _scopes(name: str) -> List[str]:
    """The scopes around a node that are named like those of gradients."""
    return [name[: match.end()] for match in _GRADIENTS.finditer(name)]


def _behind(starts: Iterable[str], takers: Dict[str, List[str]], ops: Dict[str, str], ends: Sequence[str]) -> Set[str]:
    """The nodes that take something of `starts`, and so on; not those of the ops in `ends`."""
    reached: Set[str] = set()
    ahead = list(starts)
    while ahead:
        for name in takers.get(ahead.pop(), ()):
            if name not in reached and ops[name] not in ends:
                reached.add(name)
                ahead.append(name)
    return reached


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
