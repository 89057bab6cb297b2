"""Find the variables and tables that tensors depend on, so that warm-up requests can cover all of them."""

from __future__ import annotations

import re
from typing import Any, FrozenSet, Iterable, List

from ckpt2saved.graph.graph_def import pruned
from ckpt2saved.graph.names import node_name
from ckpt2saved.graph.ops import BEAM_SEARCH, OF_SIZES, is_state
from ckpt2saved.graph.traversal import reach

# Decoders whose outputs are parts of SparseTensors, with one row for each value.
_CTC = re.compile(r"CTC(BeamSearch|Greedy)Decoder(V2)?\Z")
_OF_ANY_LENGTH = re.compile(
    r"(Where|Unique\w*|NonMaxSuppression\w*|CombinedNonMaxSuppression|DynamicPartition|Sparse\w+|StringSplit\w*|"
    r"ListDiff|SetDiff1D|DenseTo\w*Set\w*)\Z"
)
_SAME_ROWS = ("Identity", "Cast", "StopGradient")


def state_behind(graph_def: Any, tensors: Iterable[str]) -> FrozenSet[str]:
    """Names of the variables and tables that the values of `tensors` (not only their shapes) depend on."""
    nodes = {node.name: node for node in graph_def.node}

    def sources(name: str) -> List[str]:
        if is_state(nodes[name].op) or nodes[name].op in OF_SIZES:
            return []
        return [node_name(source) for source in nodes[name].input if not source.startswith("^")]

    return frozenset(name for name in reach(map(node_name, tensors), sources) if is_state(nodes[name].op))


def runs_beam_search(graph_def: Any, tensors: Iterable[str]) -> bool:
    """Whether TensorFlow's CTC beam search op runs to compute one of `tensors`."""
    part = pruned(graph_def, [node_name(tensor) for tensor in tensors])
    return any(node.op == BEAM_SEARCH for node in part.node)


def has_rows_of_its_own(graph_def: Any, tensor: str) -> bool:
    """Whether an op with a data-dependent number of rows computes the tensor."""
    nodes = {node.name: node for node in graph_def.node}
    name, _, index = tensor.partition(":")
    node = nodes[name]
    while node.op in _SAME_ROWS:
        name, _, index = node.input[0].partition(":")
        node = nodes[name]
    if _CTC.match(node.op):
        # strip_default_attrs removes the attribute if it has its default value, 1.
        paths = node.attr["top_paths"].i if "top_paths" in node.attr else 1
        return int(index or 0) < 3 * paths  # the last output, log_probability, has one row for each line
    return _OF_ANY_LENGTH.match(node.op) is not None
