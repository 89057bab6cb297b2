"""Checks that need tensors which no request feeds, such as labels, no longer run before an output."""

from __future__ import annotations

from typing import Set

from ckpt2saved.graph.graph import Graph
from ckpt2saved.graph.ops import UNFED_PLACEHOLDERS, is_never_served
from ckpt2saved.graph.traversal import reach, reversed_edges
from ckpt2saved.rewrites.context import Context
from ckpt2saved.rewrites.drop_side_effects import no_longer_waits
from ckpt2saved.rewrites.found import Found
from ckpt2saved.rewrites.rewrite import Rewrite


class DropUnfedChecks(Rewrite):
    """Removes the control inputs that need a placeholder which is not an input, or an input pipeline."""

    name = "drop unfed checks"

    def __call__(self, graph: Graph, context: Context) -> Found:
        needed = graph.upstream(context.outputs, context.inputs)
        unfed = _unfed(graph, context, needed)
        edits = []
        for name in graph.nodes:
            node = graph[name]
            waited_for = [control for control in node.controls if control in unfed] if name in needed else []
            if waited_for:
                node.controls = [control for control in node.controls if control not in unfed]
                edits.append(no_longer_waits(name, waited_for))
        return Found(tuple(edits))


def _unfed(graph: Graph, context: Context, needed: Set[str]) -> Set[str]:
    """The nodes that only control inputs run, and that need a placeholder that is no input, or an input pipeline."""
    reached = graph.between(context.outputs, context.inputs)
    given = {name for name, _ in context.inputs}
    unfed = {
        name
        for name in reached - needed
        if (graph[name].op in UNFED_PLACEHOLDERS and name not in given) or is_never_served(graph[name].op)
    }
    followers = reversed_edges({name: graph[name].sources + graph[name].controls for name in sorted(reached)})
    return reach(unfed, lambda name: [one for one in followers.get(name, ()) if one not in needed])
