"""Nodes of training that outputs still depend on are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Collection, Dict, Iterator, List, Mapping, Optional, Sequence, Set

from ckpt2saved.errors.problem import Problem
from ckpt2saved.graph.graph import Graph, Node, fed_by_data, may_be_scalar
from ckpt2saved.graph.names import Ref, parsed
from ckpt2saved.graph.ops import (
    ASSIGNMENTS,
    PASSING,
    PLACEHOLDERS,
    UNFED_PLACEHOLDERS,
    VARIABLES,
    is_random,
    is_training,
)
from ckpt2saved.graph.probe import MOVING
from ckpt2saved.rewrites.analyses.statistics import is_layer_norm, unrecognised
from ckpt2saved.rewrites.analyses.switches import choices, is_truth
from ckpt2saved.rewrites.context import Context
from ckpt2saved.rewrites.found import Found
from ckpt2saved.rewrites.rewrite import Rewrite

UNDECIDED = "undecided-switch"
_BUILD = "build the graph for inference"
# The inputs of losses that are labels; of sparse labels only the values.
_LABELS = {
    "SparseSoftmaxCrossEntropyWithLogits": (1,),
    "SoftmaxCrossEntropyWithLogits": (1,),
    "CTCLoss": (2,),
    "CTCLossV2": (2,),
}


class RefuseLeftovers(Rewrite):
    """Reports a problem for each node that can't be served; edits nothing."""

    name = "refuse what is left of training"

    def __call__(self, graph: Graph, context: Context) -> Found:
        switches = undecided(graph, context)
        reached = graph.between(context.outputs, context.inputs)
        known = {node for problem in context.problems for node in problem.nodes}
        known |= {parsed(name)[0] for name in context.labels.sources}
        hint = f"; or set {' and '.join(switches)} first" if switches else ""
        problems = [_undecided_problem(graph[name], reason) for name, reason in switches.items()]
        data = fed_by_data(graph, context.inputs)
        for name in graph.nodes:
            if name in reached and name not in known:
                problem = _problem(graph, name, context.inputs, switches)
                if problem:
                    problems.append(replace(problem, remedy=problem.remedy + hint))
        for name in unrecognised(graph, reached, data):
            if name not in known:
                found = (
                    "it looks like a batch statistic by which values are normalized, and no moving averages are known"
                    " that could replace it"
                )
                problems.append(Problem("batch-statistics", name, found, _BUILD + hint, op=graph[name].op))
        for name in _labels_on_the_way(graph, context.outputs, context.inputs, data):
            found = "an output is computed from the labels of a loss (teacher forcing), which requests do not feed"
            remedy = f"{_BUILD}, where the network reads its own earlier answers"
            problems.append(Problem("label-input", name, found, remedy, op=graph[name].op))
        for name in graph.nodes:
            if name in reached:
                for function, node, op in _training_in_functions(graph, name):
                    found = f"its function {function} is not inlined, and contains {node} ({op})"
                    problems.append(Problem("random-op", name, found, _BUILD, op=graph[name].op))
        return Found(problems=tuple(problems))


def _undecided_problem(node: Node, reason: str) -> Problem:
    return Problem(
        UNDECIDED,
        node.name,
        "no request feeds it",
        f"choose: {choices(node.name, node)}{'' if is_truth(node) else ', or make it an input'}",
        op=node.op,
        reason=reason,
    )


def undecided(graph: Graph, context: Context) -> Dict[str, str]:
    """The switches that outputs still depend on, in the graph's order, and why nothing decides their values."""
    reached, reasons = graph.between(context.outputs, context.inputs), context.switches.reasons
    return {
        name: reasons.get(name) or "nothing in the graph shows its value in inference"
        for name in graph.nodes
        if name in reached and _is_switch(graph, name, context.inputs, reasons)
    }


def _is_switch(graph: Graph, name: str, inputs: Set[Ref], reasons: Mapping[str, str]) -> bool:
    node = graph[name]
    if (name, 0) in inputs or not may_be_scalar(node):
        return False
    if node.op in UNFED_PLACEHOLDERS:
        return True
    return node.op in PLACEHOLDERS + VARIABLES and (is_truth(node) or name in reasons)


def _problem(graph: Graph, name: str, inputs: Set[Ref], switches: Collection[str]) -> Optional[Problem]:
    node = graph[name]
    if is_random(node.op):
        found = (
            "it draws random numbers that are not proven to be dropout, so that each answer to the same request differs"
        )
        return Problem("random-op", name, found, "cut the graph after it, or build it for inference", op=node.op)
    if is_training(node) and not is_layer_norm(graph, node):
        return Problem("batch-statistics", name, "batch norm uses batch statistics", _BUILD, op=node.op)
    if node.op in ASSIGNMENTS:
        found = f"an output is the value that it assigns to {graph.variable(node.inputs[0]) or 'a variable'}"
        return Problem("state-change", name, found, _BUILD, op=node.op)
    if node.op in UNFED_PLACEHOLDERS and (name, 0) not in inputs and name not in switches:
        found, remedy = "no request feeds it", "make it an input, or cut the graph after it"
        return Problem("unfed-placeholder", name, found, remedy, op=node.op)
    return None


def _labels_on_the_way(graph: Graph, outputs: Sequence[Ref], inputs: Set[Ref], data: Set[str]) -> List[str]:
    """The labels of losses that outputs are computed from, without constants and data of requests.

    Placeholders are reported elsewhere.
    """
    labels: Dict[str, None] = {}
    for node in graph.nodes.values():
        for position in _LABELS.get(node.op, ()):
            ref = node.inputs[position]
            for _ in range(20):
                source = graph[ref[0]]
                if ref in inputs or ref[0] in data or source.op in PLACEHOLDERS + VARIABLES + ("Const",):
                    break
                labels[ref[0]] = None
                if source.op not in PASSING + MOVING + ("Cast", "OneHot", "Slice", "StridedSlice", "Unpack"):
                    break
                ref = source.inputs[0]
    read = graph.upstream(outputs, inputs)
    return [name for name in graph.nodes if name in labels and name in read]


def _training_in_functions(graph: Graph, name: str) -> Iterator[Any]:
    """(function, node, op) of random ops, assignments and training batch norms in the functions that a node calls."""
    for function in graph.called(graph[name]):
        for node in graph.functions[function].node_def:
            if is_random(node.op) or node.op in ASSIGNMENTS or is_training(node):
                yield function, node.name, node.op
