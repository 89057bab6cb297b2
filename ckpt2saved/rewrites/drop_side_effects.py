"""Side effects of training, such as updates of moving averages, are removed."""

from __future__ import annotations

from typing import Dict, List, Set, Tuple

from ckpt2saved.errors.problem import Problem
from ckpt2saved.graph.graph import Graph
from ckpt2saved.graph.ops import ASSIGNMENTS, MERGES, PASSING, is_update
from ckpt2saved.rewrites.context import Context
from ckpt2saved.rewrites.found import Edit, Found
from ckpt2saved.rewrites.rewrite import Rewrite

_ONLY_WAITED_FOR = PASSING + MERGES + ("NoOp", "IdentityN")


class DropSideEffects(Rewrite):
    """Removes the control inputs that run assignments before an output.

    An assignment on which outputs could depend is a problem; updates of moving averages are not.
    """

    name = "drop side effects"

    def __call__(self, graph: Graph, context: Context) -> Found:
        reached = graph.between(context.outputs, context.inputs)
        effects = _effects(graph, reached)
        dropped: Dict[str, List[str]] = {}
        for name in graph.nodes:
            node = graph[name]
            waited_for = [control for control in node.controls if control in effects] if name in reached else []
            if waited_for:
                dropped[name] = waited_for
                node.controls = [control for control in node.controls if control not in effects]
        left = graph.between(context.outputs, context.inputs)
        edits = [no_longer_waits(name, waited_for, name in left) for name, waited_for in dropped.items()]
        return Found(tuple(edits), _state_changes(graph, reached, left, set(context.averages.updates)))


def no_longer_waits(name: str, waited_for: List[str], is_shown: bool = True) -> Edit:
    """The edit by which a node lost some of its control inputs."""
    more = f" and {len(waited_for) - 1} more" if len(waited_for) > 1 else ""
    return Edit(name, "side effect", f"{name}: no longer waits for {waited_for[0]}{more}", is_shown)


def _state_changes(graph: Graph, before: Set[str], left: Set[str], understood: Set[str]) -> Tuple[Problem, ...]:
    """A problem for each assignment that no longer runs, to a variable that outputs depend on."""
    read = {graph.variable((name, 0)) for name in left if graph[name].op not in ASSIGNMENTS}
    problems = []
    for name in sorted(before - left - understood):
        node = graph[name]
        variable = graph.variable(node.inputs[0]) if node.op in ASSIGNMENTS else None
        if node.op in ASSIGNMENTS and variable in read:
            found = f"it changes {variable}, on which answers depend, and does not update a moving average"
            problems.append(Problem("state-change", name, found, "build the graph for inference", op=node.op))
    return tuple(problems)


def _effects(graph: Graph, reached: Set[str]) -> Set[str]:
    """The assignments and optimizers' steps, and the nodes that only wait for them."""
    effects = {name for name in reached if graph[name].op in ASSIGNMENTS or is_update(graph[name].op)}
    return effects | graph.behind(effects, lambda node: node.name in reached and node.op in _ONLY_WAITED_FOR)
