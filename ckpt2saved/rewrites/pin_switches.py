"""Training switches are pinned to their values in inference, and branches that then never run are removed."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Sequence

from ckpt2saved.errors.problem import Problem
from ckpt2saved.graph.control_flow import Branch
from ckpt2saved.graph.folding import Folding
from ckpt2saved.graph.graph import Graph
from ckpt2saved.graph.names import Ref, full_name, written
from ckpt2saved.rewrites.analyses.switches import shown
from ckpt2saved.rewrites.context import Context
from ckpt2saved.rewrites.found import Edit, Found
from ckpt2saved.rewrites.rewrite import Rewrite

NO_VALUE = "output-without-value"


class PinSwitches(Rewrite):
    """Pins each training switch that the user or the structure of the graph decides.

    An output that then has no value, or has one only on an undecided branch, is a problem.
    """

    name = "pin switches"

    def __call__(self, graph: Graph, context: Context) -> Found:
        values = context.switches.decided
        folding = Folding(graph, context.within, values, context.noise)
        lost: Dict[Ref, str] = {ref: _on_dead_branch(values) for ref in context.outputs if folding.is_dead(ref)}
        edits = _pinned(graph, folding, context, values)
        branches = graph.control
        for ref in context.outputs:
            unknown = [branch for branch in sorted(branches.branches(ref)) if folding.value(branch[0]) is None]
            if unknown and ref not in lost:
                lost[ref] = _on_open_branches(unknown)
        problems = context.pins.problems + tuple(Problem(NO_VALUE, full_name(ref), why) for ref, why in lost.items())
        return Found(tuple(edits), problems)


class SetValues(Rewrite):
    """Pins only the switches that the user sets."""

    name = "set values"

    def __call__(self, graph: Graph, context: Context) -> Found:
        values = context.pins.values
        folding = Folding(graph, context.within, values, context.noise)
        return Found(tuple(_pinned(graph, folding, context, values)), context.pins.problems)


def _pinned(graph: Graph, folding: Folding, context: Context, values: Mapping[str, Any]) -> List[Edit]:
    """Write values into the graph."""
    by_user = context.pins.values
    edits = [_pin(name, value, "--set" if name in by_user else "") for name, value in values.items()]
    if folding.apply(context.within) and not values:
        edits.append(Edit(full_name(context.outputs[0]), "condition", "constant conditions left out", is_shown=False))
    return edits


def _pin(name: str, value: Any, by: str) -> Edit:
    return Edit(name, "switch", f"{name}: pinned to {shown(value)}{by and f' ({by})'}")


def _on_dead_branch(values: Mapping[str, Any]) -> str:
    switches = " and ".join("{} is {}".format(*item) for item in sorted(values.items()))
    where = f", where {switches}" if switches else ""
    return f"it is on a branch of a condition that does not run in inference{where}; take the output of the condition"


def _on_open_branches(branches: Sequence[Branch]) -> str:
    """Why an output has a value for some requests only."""
    where = [f"{written(predicate)} is {bool(side)}" for predicate, side in branches]
    return (
        f"it is on a branch of a condition, and has a value only where {' and '.join(where)}; take the output of"
        " the condition"
    )
