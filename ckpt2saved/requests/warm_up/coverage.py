"""Which variables and tables the values of tensors are computed from: what a warm-up request has to depend on."""

from __future__ import annotations

import re
from typing import Any, FrozenSet, Iterable, List

from ckpt2saved.graph.beam_searches import BEAM_SEARCH
from ckpt2saved.graph.graph_def import pruned
from ckpt2saved.graph.names import Ref, node_name, parsed
from ckpt2saved.graph.ops import CTC_DECODERS, OF_SIZES, is_state
from ckpt2saved.graph.traversal import last, reach

_OF_ANY_LENGTH = re.compile(
    r"(Where|Unique\w*|NonMaxSuppression\w*|CombinedNonMaxSuppression|DynamicPartition|Sparse\w+|StringSplit\w*|"
    r"ListDiff|SetDiff1D|DenseTo\w*Set\w*)\Z"
)
_SAME_ROWS = ("Identity", "Cast", "StopGradient")


def state_behind(graph_def: Any, tensors: Iterable[str]) -> FrozenSet[str]:
    """The names of the variables and tables that the values of `tensors` depend on, and not their sizes alone."""
    nodes = {node.name: node for node in graph_def.node}

    def following(name: str) -> List[str]:
        node = nodes[name]
        if is_state(node.op) or node.op in OF_SIZES:
            return []
        return [node_name(source) for source in node.input if not source.startswith("^")]

    reached = reach(map(node_name, tensors), following)
    return frozenset(name for name in reached if is_state(nodes[name].op))


def runs_beam_search(graph_def: Any, tensors: Iterable[str]) -> bool:
    """Whether TensorFlow's own CTC beam search runs for one of `tensors`."""
    part = pruned(graph_def, [node_name(tensor) for tensor in tensors])
    return any(node.op == BEAM_SEARCH for node in part.node)


def has_rows_of_its_own(graph_def: Any, tensor: str) -> bool:
    """Whether a tensor comes out of an op that gives as many rows as it finds, whatever the batch."""
    nodes = {node.name: node for node in graph_def.node}

    def same_rows(one: Ref) -> List[Ref]:
        node = nodes[one[0]]
        return [parsed(node.input[0])] if node.op in _SAME_ROWS else []

    name, index = last(parsed(tensor), same_rows)
    node = nodes[name]
    if node.op in CTC_DECODERS:
        paths = node.attr["top_paths"].i if "top_paths" in node.attr else 1  # the default, which may be stripped
        return index < 3 * paths  # the last output is the log-probability of each line
    return _OF_ANY_LENGTH.match(node.op) is not None
