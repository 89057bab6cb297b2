"""Devices of nodes, for servers with a GPU."""

from __future__ import annotations

from typing import Any

from ckpt2saved.graph.graph import Graph
from ckpt2saved.graph.groups import DECODER
from ckpt2saved.graph.node_groups import node_groups

CPU = "/device:CPU:0"  # of whatever server


def place_decoder_on_cpu(graph_def: Any) -> bool:
    """Place a decoder's loops over the steps, and what follows them, on the CPU; returns whether there are any.

    A step of such a loop has a hundred ops on tensors of a few numbers. On a GPU each of them is a kernel, whose launch
    takes longer than the CPU takes for the op. What comes between the last layer and the loops stays on the GPU: it
    reads all logits, and what is left of them is small.
    """
    graph = Graph(graph_def, is_copied=False)
    groups = node_groups(graph)
    placed = {name for name in graph.control.in_loops if groups[name] == DECODER}
    if not placed:
        return False
    # The arrays that a loop reads are where it is.
    above = graph.upstream([(name, 0) for name in placed])
    placed |= {name for name in above if graph[name].op.startswith("TensorArray") and groups[name] == DECODER}
    placed |= graph.behind(placed)
    for name in placed:
        graph[name].definition.device = CPU
    return True
