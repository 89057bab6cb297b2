"""Detection of batch statistics in a graph that should be an inference graph."""

from __future__ import annotations

from typing import Any, Dict, Iterable, List

from ckpt2saved.errors.problem import Problem
from ckpt2saved.graph.folding import Folding
from ckpt2saved.graph.graph import Graph, fed_by_data, may_be_scalar, noisy
from ckpt2saved.graph.inlining import inline_functions
from ckpt2saved.graph.names import parsed
from ckpt2saved.rewrites.analyses.statistics import find_statistics, unrecognised


def find_batch_dependence(graph_def: Any, outputs: Iterable[str], inputs: Iterable[str]) -> List[Problem]:
    """A problem for each batch statistic by which values are normalized, between `inputs` and `outputs`.

    Both are names of tensors; `graph_def` is not changed. FusedBatchNorm has an attribute for its mode, and is not
    reported here.
    """
    graph = Graph(graph_def)
    ends = [parsed(name) for name in outputs]
    known = {parsed(name) for name in inputs}
    inline_functions(graph, ends, known)
    within = graph.between(ends, known)
    Folding(graph, within, _defaults(graph, within, known), noisy(graph)).apply(within)
    within = graph.between(ends, known)
    data = fed_by_data(graph, known)
    found: Dict[str, None] = {}
    for statistics in find_statistics(graph, within, data):
        if not statistics.fused:
            found[statistics.name] = None
    found.update(dict.fromkeys(unrecognised(graph, within, data)))
    return [
        Problem("batch-statistics", name, "a batch statistic by which values are normalized", op=graph[name].op)
        for name in graph.nodes
        if name in found
    ]


def _defaults(graph: Graph, within: Iterable[str], inputs: Any) -> Dict[str, Any]:
    """The default values of switches that no request feeds, such as Keras's learning phase."""
    values = {}
    for name in within:
        node = graph[name]
        if node.op == "PlaceholderWithDefault" and (name, 0) not in inputs and may_be_scalar(node):
            value = graph.constant(node.inputs[0])
            if value is not None and value.ndim == 0:  # its shape may be left open
                values[name] = value.item()
    return values
