"""What of training is left on the way to the answers, and so refused."""

from __future__ import annotations

from typing import Any, Collection, Dict, Iterator, List, Mapping, Sequence, Set

from ckpt2saved.graph.graph import (
    ASSIGNMENTS,
    PASSING,
    PLACEHOLDERS,
    VARIABLES,
    Graph,
    Ref,
    fed_by_data,
    functions_of,
    may_be_scalar,
)
from ckpt2saved.graph.probe import MOVING
from ckpt2saved.graph.random_ops import is_random
from ckpt2saved.rewrites.statistics import is_layer_norm, is_training, unrecognised
from ckpt2saved.rewrites.switches import choices, is_truth

# The inputs of losses that are labels; of sparse ones the values.
_LABELS = {
    "SparseSoftmaxCrossEntropyWithLogits": (1,),
    "SoftmaxCrossEntropyWithLogits": (1,),
    "CTCLoss": (2,),
    "CTCLossV2": (2,),
}


def find_leftovers(
    graph: Graph, outputs: Sequence[Ref], inputs: Set[Ref], reasons: Mapping[str, str], known: Set[str]
) -> List[str]:
    """A line for each node that can't be served; `reasons` are those of undecided switches, `known` is said already."""
    reached = graph.on_the_way(outputs, inputs)
    data = fed_by_data(graph, inputs)
    problems = []
    switches = undecided(graph, outputs, inputs, reasons)
    hint = f"set {' and '.join(switches)} first" if switches else ""
    for name, reason in switches.items():
        node = graph[name]
        problems.append(
            f"{name} ({node.op}): nothing feeds it when it is served, and {reason}; choose:"
            f" {choices(name, node)}{'' if is_truth(node) else ', or make it an input'}"
        )
    for name in graph.nodes:
        if name in reached and name not in known:
            problem = _problem(graph, name, inputs, switches)
            if problem:
                problems.append(f"{name} ({graph[name].op}): {problem}{hint and '; or ' + hint}")
    for name in unrecognised(graph, reached, data):
        if name not in known:
            problems.append(
                f"{name} ({graph[name].op}): it looks like a statistic of the batch that values are scaled or shifted"
                " back by, and no pair of moving averages is known to stand for it; build the graph for"
                f" inference{hint and '; or ' + hint}"
            )
    for name in _labels_on_the_way(graph, outputs, inputs, data):
        problems.append(
            f"{name} ({graph[name].op}): answers are computed from what a loss takes for labels (teacher forcing),"
            " and a request brings none; build the graph for inference, where the network reads what it answered"
            " before"
        )
    for name in graph.nodes:
        if name in reached:
            for function, node, op in _random_in_functions(graph, name):
                problems.append(
                    f"{name} ({graph[name].op}): its function {function} draws random numbers at {node} ({op}); build"
                    " the graph for inference"
                )
    return problems


def undecided(graph: Graph, outputs: Sequence[Ref], inputs: Set[Ref], reasons: Mapping[str, str]) -> Dict[str, str]:
    """The switches that outputs still depend on, in the graph's order, and why nothing decides their values."""
    reached = graph.on_the_way(outputs, inputs)
    return {
        name: reasons.get(name) or "nothing in the graph shows its value in inference"
        for name in graph.nodes
        if name in reached and _is_switch(graph, name, inputs, reasons)
    }


def _is_switch(graph: Graph, name: str, inputs: Set[Ref], reasons: Mapping[str, str]) -> bool:
    node = graph[name]
    if (name, 0) in inputs or not may_be_scalar(node):
        return False
    if node.op in ("Placeholder", "PlaceholderV2"):
        return True
    return node.op in PLACEHOLDERS + VARIABLES and (is_truth(node) or name in reasons)


def _problem(graph: Graph, name: str, inputs: Set[Ref], switches: Collection[str]) -> str:
    node = graph[name]
    if is_random(node.op):
        return (
            "random numbers that are no dropout as far as can be proven: the same request would get another answer "
            "each time; cut the graph after it, or build it for inference"
        )
    if is_training(node) and not is_layer_norm(graph, node):
        return "batch norm on the statistics of the batch; build the graph for inference"
    if node.op in ASSIGNMENTS:
        return (
            f"the answer is what it assigns to {graph.variable(node.inputs[0]) or 'a variable'}; build the graph for"
            " inference"
        )
    if node.op in ("Placeholder", "PlaceholderV2") and (name, 0) not in inputs and name not in switches:
        return "nothing feeds it when it is served; make it an input, or cut the graph after it"
    return ""


def _labels_on_the_way(graph: Graph, outputs: Sequence[Ref], inputs: Set[Ref], data: Set[str]) -> List[str]:
    """What losses take for labels and outputs are computed from, though it is neither constant nor made of a request.

    Placeholders are told of elsewhere.
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
    ahead: List[str] = [ref[0] for ref in outputs if ref not in inputs]
    read: Set[str] = set()
    while ahead:
        name = ahead.pop()
        if name not in read:
            read.add(name)
            ahead.extend(ref[0] for ref in graph[name].inputs if ref not in inputs)
    return [name for name in graph.nodes if name in labels and name in read]


def _random_in_functions(graph: Graph, name: str) -> Iterator[Any]:
    """(function, node, op) of what is random in the functions that a node calls."""
    functions = {function.signature.name: function for function in graph.library.function}
    ahead = sorted(functions_of(graph[name].definition)) + [graph[name].op]
    seen: Set[str] = set()
    while ahead:
        function = ahead.pop()
        if function in seen or function not in functions:
            continue
        seen.add(function)
        for node in functions[function].node_def:
            if is_random(node.op) or node.op in ASSIGNMENTS or is_training(node):
                yield function, node.name, node.op
            ahead.extend(sorted(functions_of(node)) + [node.op])
