"""What a training does beside answering, such as updating moving averages: left out of the served graph."""

from __future__ import annotations

from typing import Dict, List, Sequence, Set

from ckpt2saved.graph.graph import ASSIGNMENTS, MERGES, PASSING, Edit, Graph, Ref, never_served

_STEPS = ("Apply", "SparseApply", "ResourceApply", "ResourceSparseApply")
_ONLY_WAITED_FOR = PASSING + MERGES + ("NoOp", "Group", "IdentityN")


def drop_side_effects(
    graph: Graph, outputs: Sequence[Ref], inputs: Set[Ref], understood: Set[str], problems: List[str]
) -> List[Edit]:
    """Take away the control inputs by which assignments run before an answer.

    Adds to `problems` those that an answer could depend on: `understood` are the assignments that move averages.
    """
    reached = graph.on_the_way(outputs, inputs)
    effects = _effects(graph, reached)
    dropped: Dict[str, List[str]] = {}
    for name in graph.nodes:
        node = graph[name]
        waited_for = [control for control in node.controls if control in effects] if name in reached else []
        if waited_for:
            dropped[name] = waited_for
            node.controls = [control for control in node.controls if control not in effects]
    left = graph.on_the_way(outputs, inputs)
    read = {graph.variable((name, 0)) for name in left if graph[name].op not in ASSIGNMENTS}
    for name in sorted(reached - left):
        node = graph[name]
        if node.op in ASSIGNMENTS and name not in understood:
            variable = graph.variable(node.inputs[0])
            if variable in read:
                problems.append(
                    f"{name} ({node.op}): it changes {variable} before each answer that depends on it, and is no moving"
                    " average; build the graph for inference"
                )
    return [_edit(name, waited_for) for name, waited_for in dropped.items() if name in left]


def drop_unanswerable_checks(graph: Graph, outputs: Sequence[Ref], inputs: Set[Ref]) -> List[Edit]:
    """Take away the control inputs that need what nobody feeds, such as labels or an input pipeline."""
    reached = graph.on_the_way(outputs, inputs)
    needed = _by_data(graph, outputs, inputs)
    given = {name for name, _ in inputs}
    unfed = {
        name
        for name in reached - needed
        if (graph[name].op in ("Placeholder", "PlaceholderV2") and name not in given) or never_served(graph[name].op)
    }
    ahead = sorted(unfed)
    followers: Dict[str, List[str]] = {}
    for name in sorted(reached):
        for source in {source for source, _ in graph[name].inputs} | set(graph[name].controls):
            followers.setdefault(source, []).append(name)
    while ahead:
        for name in followers.get(ahead.pop(), ()):
            if name not in unfed and name not in needed:
                unfed.add(name)
                ahead.append(name)
    edits = []
    for name in graph.nodes:
        node = graph[name]
        waited_for = [control for control in node.controls if control in unfed] if name in needed else []
        if waited_for:
            node.controls = [control for control in node.controls if control not in unfed]
            edits.append(_edit(name, waited_for))
    return edits


def _by_data(graph: Graph, outputs: Sequence[Ref], inputs: Set[Ref]) -> Set[str]:
    reached: Set[str] = set()
    ahead = [ref[0] for ref in outputs if ref not in inputs]
    while ahead:
        name = ahead.pop()
        if name not in reached:
            reached.add(name)
            ahead.extend(source[0] for source in graph[name].inputs if source not in inputs)
    return reached


def _effects(graph: Graph, reached: Set[str]) -> Set[str]:
    """The assignments and optimizers' steps, and what only hands on that they are done."""
    effects = {name for name in reached if graph[name].op in ASSIGNMENTS or graph[name].op.startswith(_STEPS)}
    ahead = list(effects)
    while ahead:
        for node in graph.consumers(ahead.pop()):
            if node.name in reached and node.name not in effects and node.op in _ONLY_WAITED_FOR:
                effects.add(node.name)
                ahead.append(node.name)
    return effects


def _edit(name: str, waited_for: Sequence[str]) -> Edit:
    more = f" and {len(waited_for) - 1} more" if len(waited_for) > 1 else ""
    return Edit(name, "side effect", f"{name}: no longer runs {waited_for[0]}{more} first")
