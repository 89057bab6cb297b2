"""While loops of TensorFlow 1: which tensors inside never change, and which are the steps of a sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Collection, Dict, Iterator, List, Optional, Sequence, Set

from ckpt2saved.graph.graph import Graph, Node
from ckpt2saved.graph.names import Ref
from ckpt2saved.graph.ops import ENTERS, IDENTITIES, ITERATIONS, MERGES, SWITCHES
from ckpt2saved.graph.tf1 import tf

_READS = ("TensorArrayReadV3", "TensorListGetItem")
_ADDS = ("Add", "AddV2", "BiasAdd")


@dataclass(frozen=True)
class Step:
    """A tensor inside of a loop that is the entry `index` of a tensor outside, along its first axis."""

    sequence: Ref  # outside
    index: Ref  # inside, int32
    enter: Node  # leads from outside into the loop


def outer_loops(graph: Graph, within: Collection[str]) -> Dict[str, List[Node]]:
    """Frame -> the nodes of `within` that are in this loop and in no other."""
    found: Dict[str, List[Node]] = {}
    for name, frames in graph.control.in_loops.items():
        if name in within and len(frames) == 1:
            found.setdefault(frames[0], []).append(graph[name])
    return found


def products_of(nodes: Sequence[Node]) -> List[Node]:
    """The MatMuls among nodes."""
    return [node for node in nodes if node.op == "MatMul"]


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


def is_read(node: Node) -> bool:
    """Whether a node reads an entry of an array, as a loop does at each step."""
    return node.op in _READS


def step_of(graph: Graph, ref: Ref) -> Optional[Step]:
    """The step of a sequence that a tensor inside of a loop is; None where it is none.

    The sequence is in a TensorArray, or in a TensorList as in loops of TensorFlow 2, that was filled before the loop.
    """
    node = graph[unchanged(graph, ref)[0]]
    if not is_read(node):
        return None
    enter = entered(graph, node.inputs[0 if node.op == "TensorListGetItem" else 2])
    if enter is None:
        return None
    filled = graph[unchanged(graph, enter.inputs[0])[0]]
    if filled.op == "TensorListFromTensor":
        return Step(filled.inputs[0], node.inputs[1], enter)
    if filled.op == "TensorArrayScatterV3" and counts_from_0(graph, filled.inputs[1]):
        return Step(filled.inputs[2], node.inputs[1], enter)
    return None


def counts_from_0(graph: Graph, ref: Ref) -> bool:
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


def is_of_recurrent_layer(graph: Graph, products: Sequence[Node]) -> bool:
    """Whether a loop with these MatMuls is a recurrent layer: one makes the next state from the state before."""
    for product in products:
        for node in _within_step(graph, product, ()):
            state = _next_of_state(graph, node)
            if state is not None and product in _within_step(graph, state, ()):
                return True
    return False


def takes_inputs(graph: Graph, product: Node) -> bool:
    """Whether a MatMul in a loop multiplies what the loop reads at this step, and no sum or other product with it."""
    stops = ("MatMul", *_ADDS)
    return any(is_read(node) and node is not product for node in _within_step(graph, product, stops))


def _within_step(graph: Graph, start: Node, stops: Sequence[str]) -> Iterator[Node]:
    """The nodes that `start` depends on in the same step of its loop; those of `stops` and states are not passed."""

    def following(node: Node) -> List[Node]:
        if node.op in ENTERS or (node is not start and node.op in stops) or _is_of_iterations(graph, node):
            return []
        return [graph[name] for name, _ in node.inputs]

    return graph.walk(start.name, following)


def _is_of_iterations(graph: Graph, node: Node) -> bool:
    return node.op in MERGES and any(graph[name].op in ITERATIONS for name, _ in node.inputs)


def _next_of_state(graph: Graph, node: Node) -> Optional[Node]:
    """What makes the next value of a state that `node` begins a step with; None for other nodes."""
    if not _is_of_iterations(graph, node) or not tf.as_dtype(node.attr["T"].type).is_floating:
        return None
    return next(graph[name] for name, _ in node.inputs if graph[name].op in ITERATIONS)
