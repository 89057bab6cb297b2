"""Function calls of TensorFlow 2 graphs are replaced by the nodes of their bodies."""

from __future__ import annotations

from ckpt2saved.graph.graph import Graph
from ckpt2saved.graph.inlining import inline_functions
from ckpt2saved.rewrites.context import Context
from ckpt2saved.rewrites.found import Edit, Found
from ckpt2saved.rewrites.rewrite import Rewrite


class InlineFunctions(Rewrite):
    """Inlines all calls, so that every other rewrite sees a graph as TensorFlow 1 would have made it."""

    name = "inline functions"
    settles = True

    def __call__(self, graph: Graph, context: Context) -> Found:
        calls = inline_functions(graph, context.outputs, context.inputs)
        return Found(tuple(Edit(call, "function", f"{call}: inlined", is_shown=False) for call in calls))
