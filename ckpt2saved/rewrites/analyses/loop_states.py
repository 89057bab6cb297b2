"""The states of a while loop of TensorFlow 1, its counters, and which of its nodes compute each row by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Collection, List, Optional

from ckpt2saved.graph.graph import Graph, Node
from ckpt2saved.graph.names import Ref
from ckpt2saved.graph.ops import ENTERS, ITERATIONS, MERGES, SWITCHES
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.rewrites.analyses.loops import unchanged

_ADDS = ("Add", "AddV2")
_OF_ELEMENTS = (*_ADDS, "Sub", "Mul", "Maximum", "Minimum", "Sigmoid", "Tanh", "Relu", "Identity")


@dataclass(frozen=True)
class State:
    """A tensor that a loop passes from each step to the next."""

    merge: Node
    switch: Node
    iteration: Node
    start: Ref  # outside

    @property
    def inside(self) -> Ref:
        """Its value in a step."""
        return self.switch.name, 1

    @property
    def last(self) -> Ref:
        """Its value after the last step, which an Exit takes."""
        return self.switch.name, 0


def states_of(graph: Graph, names: Collection[str]) -> List[State]:
    """The states of the loop that consists of the nodes `names`; others, which do not run, are passed over."""
    found, within = [], set(names)
    for name in names:
        merge = graph[name]
        users = [user for user in graph.users((name, 0)) if user.name in within]
        switches = [user for user in users if user.op in SWITCHES and user.inputs[0] == (name, 0)]
        switches = [switch for switch in switches if graph.consumers(switch.name)] if len(switches) > 1 else switches
        if merge.op not in MERGES or len(merge.inputs) != 2 or len(switches) != 1:
            continue
        enter, iteration = (graph[source] for source in merge.sources)
        if enter.op in ENTERS and iteration.op in ITERATIONS:
            found.append(State(merge, switches[0], iteration, enter.inputs[0]))
    return found


def is_counter(graph: Graph, state: State) -> bool:
    """Whether a state is an int32 that counts the steps: 0, 1, 2, and so on."""
    start = graph.constant(state.start)
    following = graph[unchanged(graph, state.iteration.inputs[0])[0]]
    if start is None or start.shape or start != 0 or following.op not in _ADDS:
        return False
    if following.attr["T"].type != tf.int32.as_datatype_enum:
        return False
    one, other = following.inputs
    if unchanged(graph, one) != state.inside:
        one, other = other, one
    by = graph.constant(other)
    return unchanged(graph, one) == state.inside and by is not None and not by.shape and by == 1


def is_by_row(graph: Graph, node: Node, source: str) -> bool:
    """Whether each row of what a node makes of matrices depends on the same row of the node `source` alone."""
    places = [place for place, (name, _) in enumerate(node.inputs) if name == source]
    if node.op == "MatMul":
        return places == [0] and not node.attr["transpose_a"].b
    if node.op == "BiasAdd":
        return places == [0]
    if node.op in ("Split", "ConcatV2"):
        axis = node.inputs[0 if node.op == "Split" else -1]
        return axis[0] != source and _is_of_columns(graph.constant(axis))
    return node.op in _OF_ELEMENTS


def _is_of_columns(axis: Optional[int]) -> bool:
    return axis is not None and int(axis) in (1, -1)
