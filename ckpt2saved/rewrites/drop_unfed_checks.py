"""Checks that need what no request brings, such as labels or an input pipeline, no longer run before an answer."""

from __future__ import annotations

from typing import Dict, List, Sequence, Set

from ckpt2saved.graph.graph import Graph
from ckpt2saved.graph.names import Ref
from ckpt2saved.graph.ops import UNFED_PLACEHOLDERS, is_never_served
from ckpt2saved.rewrites.context import Context
from ckpt2saved.rewrites.drop_side_effects import no_longer_waits
from ckpt2saved.rewrites.found import Found
from ckpt2saved.rewrites.rewrite import Rewrite


class DropUnfedChecks(Rewrite):
    """Removes the control inputs that need what nobody feeds."""

    name = "drop checks of what nobody feeds"

    def __call__(self, graph: Graph, context: Context) -> Found:
        needed = _by_data(graph, context.outputs, context.inputs)
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
    reached = graph.on_the_way(context.outputs, context.inputs)
    given = {name for name, _ in context.inputs}
    unfed = {
        name
        for name in reached - needed
        if (graph[name].op in UNFED_PLACEHOLDERS and name not in given) or is_never_served(graph[name].op)
    }
    followers: Dict[str, List[str]] = {}
    for name in sorted(reached):
        for source in {source for source, _ in graph[name].inputs} | set(graph[name].controls):
            followers.setdefault(source, []).append(name)
    ahead = sorted(unfed)
    while ahead:
        for name in followers.get(ahead.pop(), ()):
            if name not in unfed and name not in needed:
                unfed.add(name)
                ahead.append(name)
    return unfed


def _by_data(graph: Graph, outputs: Sequence[Ref], inputs: Set[Ref]) -> Set[str]:
    reached: Set[str] = set()
    ahead = [ref[0] for ref in outputs if ref not in inputs]
    while ahead:
        name = ahead.pop()
        if name not in reached:
            reached.add(name)
            ahead.extend(source[0] for source in graph[name].inputs if source not in inputs)
    return reached
