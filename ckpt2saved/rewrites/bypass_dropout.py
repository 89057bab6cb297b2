"""Dropout is bypassed, however it is written."""

from __future__ import annotations

from ckpt2saved.graph.graph import Graph, may_be_scalar
from ckpt2saved.graph.ops import PLACEHOLDERS
from ckpt2saved.rewrites.analyses.dropouts import find_dropouts, is_dropping
from ckpt2saved.rewrites.context import Context
from ckpt2saved.rewrites.found import Edit, Found
from ckpt2saved.rewrites.rewrite import Rewrite


class BypassDropout(Rewrite):
    """Replaces each dropout by its input, and switches off the dropout of cuDNN's recurrent networks."""

    name = "bypass dropout"

    def __call__(self, graph: Graph, context: Context) -> Found:
        edits = []
        within = graph.between(context.outputs, context.inputs)
        for dropout in find_dropouts(graph, within, context.data, context.noise):
            node = graph[dropout.dropped]
            node.become("Identity", [dropout.source], T=node.attr["T"].type)
            edits.append(Edit(dropout.dropped, "dropout", f"{dropout.scope}: bypassed"))
        graph.changed()
        for name in graph.nodes:
            node = graph[name]
            if name in within and is_dropping(node):
                node.attr["is_training"].b = False
                node.attr["dropout"].f = 0.0
                edits.append(Edit(name, "dropout", f"{name}: its own dropout is off"))
        for name in sorted(within - graph.between(context.outputs, context.inputs)):
            if graph[name].op in PLACEHOLDERS and may_be_scalar(graph[name]):
                edits.append(Edit(name, "switch", f"{name}: not needed, as only bypassed dropout used it"))
        return Found(tuple(edits))
