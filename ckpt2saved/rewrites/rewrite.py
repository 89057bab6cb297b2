"""What a rewrite is, and how a list of them is applied to a graph."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, Dict, List, Mapping, Sequence, Set, Tuple, Type, TypeVar

from ckpt2saved.errors import NotServable
from ckpt2saved.errors.problem import Note, Problem
from ckpt2saved.graph.graph import Graph
from ckpt2saved.graph.names import Ref, full_name
from ckpt2saved.rewrites.context import Context
from ckpt2saved.rewrites.found import Edit, Found


class Rewrite(ABC):
    """A change to a graph, or a check of it.

    Rewrites have no state: facts about the original graph are in the context.
    """

    name: str = ""
    settles: bool = False  # whether later rewrites see the graph that this one leaves as the original

    @abstractmethod
    def __call__(self, graph: Graph, context: Context) -> Found:
        """Edit `graph` in place; what can't be done is a problem of the result, not an exception."""


_E = TypeVar("_E", bound=Edit)


@dataclass(frozen=True)
class Applied:
    """A graph after a list of rewrites, and everything that they reported."""

    graph: Graph
    context: Context  # with the inputs and outputs that the graph has now
    edits: Tuple[Edit, ...]
    problems: Tuple[Problem, ...]
    notes: Tuple[Note, ...]
    moved: Mapping[str, str]  # input or output -> the tensor that replaces it

    @property
    def shown(self) -> Tuple[Edit, ...]:
        """The edits that are shown to users."""
        return tuple(edit for edit in self.edits if edit.is_shown)

    def edits_of(self, kind: Type[_E]) -> Tuple[_E, ...]:
        """The edits of one class."""
        return tuple(edit for edit in self.edits if isinstance(edit, kind))

    def graph_def(self) -> Any:
        """The GraphDef of what the outputs and the inputs depend on."""
        ends = list(self.context.outputs) + sorted(self.context.inputs)
        return self.graph.graph_def(name for name, _ in ends)


class RewriteError(Exception):
    """A rewrite broke a rule of all rewrites: a bug in it, which a user can't cause."""


def apply(rewrites: Sequence[Rewrite], context: Context, failure: str) -> Applied:
    """`apply_all`, raising NotServable with the message `failure` and every problem, if there are any."""
    found = apply_all(rewrites, context)
    if found.problems:
        raise NotServable(failure, found.problems)
    return found


def apply_all(rewrites: Sequence[Rewrite], context: Context) -> Applied:
    """Apply rewrites one after another to a copy of the context's graph, which stays as it is.

    Raises NotServable where the graph lacks an input or an output; RewriteError where a rewrite loses one, leaves an
    input of a node without its source, or edits without saying so.
    """
    _check_names(context)
    context = replace(context, problems=[])
    graph = context.original.copy()
    edits: List[Edit] = []
    notes: List[Note] = []
    moved: Dict[Ref, Ref] = {}
    state = _State.of(graph, context)
    for rewrite in rewrites:
        found = rewrite(graph, context)
        graph.changed()
        edits += found.edits
        notes += found.notes
        context.problems.extend(found.problems)
        if found.moved:
            moved = _composed(moved, found.moved)
            context = context.with_ends(found.moved)
        if rewrite.settles and found.edits:
            context = replace(context, original=graph.copy())
        state = state.after(rewrite, found, graph, context)
    names = {full_name(before): full_name(now) for before, now in moved.items()}
    return Applied(
        graph=graph,
        context=context,
        edits=tuple(edits),
        problems=tuple(context.problems),
        notes=tuple(notes),
        moved=names,
    )


def _composed(first: Mapping[Ref, Ref], then: Mapping[Ref, Ref]) -> Dict[Ref, Ref]:
    found = {before: then.get(now, now) for before, now in first.items()}
    found.update({before: now for before, now in then.items() if before not in first.values()})
    return found


def _check_names(context: Context) -> None:
    missing = [name for name, _ in list(context.outputs) + sorted(context.inputs) if name not in context.original]
    if missing:
        raise NotServable(
            "the graph lacks requested tensors",
            [Problem("unknown-tensor", name, "the graph has no such node") for name in missing],
        )


@dataclass(frozen=True)
class _State:
    """The part of a graph that the outputs depend on, as it is compared before and after a rewrite."""

    fingerprint: int
    dangling: Set[str]

    @staticmethod
    def of(graph: Graph, context: Context) -> _State:
        """The state of a graph."""
        reached = graph.between(context.outputs, context.inputs)
        nodes = [graph[name] for name in graph.nodes if name in reached]
        sources = {source for node in nodes for source, _ in node.inputs}.union(*[node.controls for node in nodes])
        parts = [(node.name, node.op, tuple(node.inputs), tuple(node.controls), _attributes(node)) for node in nodes]
        return _State(hash(tuple(parts)), {name for name in sources if name not in graph})

    def after(self, rewrite: Rewrite, found: Found, graph: Graph, context: Context) -> _State:
        """The state after a rewrite; raises RewriteError where the rewrite broke a rule."""
        lost = [name for name, _ in list(context.outputs) + sorted(context.inputs) if name not in graph]
        if lost:
            raise RewriteError(f"{rewrite.name}: the graph lost {', '.join(lost)}")
        now = _State.of(graph, context)
        dangling = sorted(now.dangling - self.dangling)
        if dangling:
            raise RewriteError(f"{rewrite.name}: nodes take what the graph does not have: {', '.join(dangling)}")
        if not found.edits and now.fingerprint != self.fingerprint:
            raise RewriteError(f"{rewrite.name}: the graph was edited, and no edit was reported")
        return now


def _attributes(node: Any) -> Tuple[Any, ...]:
    """The attributes of a node without a constant's value; empty ones, which only reading added, are left out."""
    found = [(key, value.SerializeToString()) for key, value in node.attr.items() if key != "value"]
    return tuple(sorted(item for item in found if item[1]))
