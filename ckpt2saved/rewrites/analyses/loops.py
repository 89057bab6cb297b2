"""While loops of TensorFlow 1: which tensors inside never change, and which are the steps of a sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Set

from ckpt2saved.graph.graph import Graph, Node
from ckpt2saved.graph.names import Ref
from ckpt2saved.graph.ops import ENTERS, IDENTITIES, ITERATIONS, MERGES, SWITCHES


@dataclass(frozen=True)
class Step:
    """A tensor inside of a loop that is the entry `index` of a tensor outside, along its first axis."""

    sequence: Ref  # outside
    index: Ref  # inside, int32
    enter: Node  # leads from outside into the loop


def entered(graph: Graph, ref: Ref) -> Optional[Node]:
    """The Enter of a tensor that is the same at every step of its loop; None where it may change."""
    seen: Set[str] = set()
    while True:
        node = graph[ref[0]]
        if node.op in ENTERS:
            return node
        if node.op in MERGES and node.name not in seen:
            seen.add(node.name)
            first = [source for source in node.inputs if graph[source[0]].op in ENTERS]
            following = [source for source in node.inputs if graph[source[0]].op in ITERATIONS]
            if len(first) != 1 or len(following) != 1 or _passed_on(graph, following[0]) != (node.name, 0):
                return None
            ref = first[0]
        elif node.op in IDENTITIES + SWITCHES:
            ref = node.inputs[0]
        else:
            return None


def _passed_on(graph: Graph, ref: Ref) -> Ref:
    """The tensor that the nodes of a loop pass on unchanged."""
    while graph[ref[0]].op in (*ITERATIONS, *IDENTITIES, *SWITCHES):
        ref = graph[ref[0]].inputs[0]
    return ref


def step_of(graph: Graph, ref: Ref) -> Optional[Step]:
    """The step of a sequence that a tensor inside of a loop is; None where it is none.

    The sequence is in a TensorArray, or in a TensorList as in loops of TensorFlow 2, that was filled before the loop.
    """
    node = graph[unchanged(graph, ref)[0]]
    if node.op not in ("TensorArrayReadV3", "TensorListGetItem"):
        return None
    enter = entered(graph, node.inputs[0 if node.op == "TensorListGetItem" else 2])
    if enter is None:
        return None
    filled = graph[unchanged(graph, enter.inputs[0])[0]]
    if filled.op == "TensorListFromTensor":
        return Step(filled.inputs[0], node.inputs[1], enter)
    if filled.op == "TensorArrayScatterV3" and _counts_from_0(graph, filled.inputs[1]):
        return Step(filled.inputs[2], node.inputs[1], enter)
    return None


def _counts_from_0(graph: Graph, ref: Ref) -> bool:
    """Whether a tensor is 0, 1, 2, and so on."""
    node = graph[ref[0]]
    if node.op != "Range":
        return False
    start, delta = graph.constant(node.inputs[0]), graph.constant(node.inputs[2])
    return start is not None and delta is not None and (int(start), int(delta)) == (0, 1)


def unchanged(graph: Graph, ref: Ref) -> Ref:
    """The tensor that identities pass on."""
    while graph[ref[0]].op in IDENTITIES:
        ref = graph[ref[0]].inputs[0]
    return ref
