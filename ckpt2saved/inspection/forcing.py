"""Teacher forcing: which answers a graph computes from their own labels, and what it computes before it reads them."""

from __future__ import annotations

from typing import Collection, Dict, List, Mapping, Sequence, Set

from ckpt2saved.errors import NotServable
from ckpt2saved.errors.problem import Problem
from ckpt2saved.graph.dataflow import Node
from ckpt2saved.inspection.network import Network
from ckpt2saved.inspection.outputs import Output, output_of
from ckpt2saved.inspection.views import key_of
from ckpt2saved.rewrites.to_inference import find_steering

_JOINS = ("Pack", "Concat", "ConcatV2", "AddN")
# Which input of an op decides what it hands on.
_CONDITIONS = {
    "Switch": 1,
    "RefSwitch": 1,
    "Select": 0,
    "SelectV2": 0,
    "If": 0,
    "StatelessIf": 0,
    "Case": 0,
    "StatelessCase": 0,
}


def is_piece(network: Network, tensor: str, takers: Collection[Node]) -> bool:
    """Whether a tensor is only joined with others that need labels, such as the first letter of a word."""
    return bool(takers) and all(
        taker.op in _JOINS
        and not _reaches_weights(network, taker)
        and any(network.flow.maker(other).name in network.forced for other in taker.inputs if other != tensor)
        for taker in takers
    )


def leads_on(network: Network, takers: Collection[Node]) -> bool:
    """Whether all that takes a tensor reads labels too, and weights after that: then it is no answer yet."""
    return bool(takers) and all(taker.name in network.forced and _reaches_weights(network, taker) for taker in takers)


def find_encoders(network: Network) -> List[Output]:
    """What the network computes of requests alone, where everything that follows reads labels as well."""
    if not network.comparisons.forced or network.settled:
        return []
    weighted = [output.name for name in network.weighted for output in network.flow.nodes[name].outputs]
    computed = (network.reach(weighted) | network.weighted) & network.pure
    counts: Dict[str, int] = {}
    for name in network.flow.nodes:
        for output in network.flow.nodes[name].outputs if name in computed else ():
            takers = [t for t in _takers(network, output.name) if t.name in network.forced]
            count = sum(_reaches_weights(network, taker) for taker in takers)
            if count and output.is_float and output.rank != 0:
                counts[output.name] = count
    if not counts:
        return []
    best = max(counts, key=lambda name: counts[name])
    reason = "what the network computes before it reads labels, which all the rest needs"
    return [output_of(network, key_of(best, "features"), best, "values", reason)]


def settled_nodes(network: Network, variables: Mapping[str, Sequence[int]]) -> Set[str]:
    """The conditions by which inference reads no labels, where a training switch decides that answers need none."""
    flow = network.flow
    answers = [name for name in network.comparisons.forced if flow.has(name)]
    data = [tensor.name for tensor in network.primary + network.lengths]
    if not answers:
        return set()
    try:
        steering = find_steering(flow.forward_def, answers, data, variables, network.comparisons)
    except NotServable:
        return set()
    if steering.labels or not steering.decided:
        return set()
    found: Set[str] = set()
    sources: Set[str] = {flow.maker(tensor.name).name for tensor in network.sources}
    for node in flow.nodes.values():
        if node.op in _CONDITIONS:
            decides = flow.upstream([node.inputs[_CONDITIONS[node.op]]])
            if decides & set(steering.decided) and not decides & sources - set(steering.decided):
                found.add(node.name)
    return found


def _reaches_weights(network: Network, node: Node) -> bool:
    return any(output.name in network.to_weights for output in node.outputs)


def _takers(network: Network, tensor: str) -> List[Node]:
    """The nodes that take a tensor; into a loop it goes through a node of its own."""
    found: List[Node] = []
    for taker in network.flow.consumers(tensor):
        if taker.op in ("Enter", "RefEnter"):
            found += network.flow.consumers(taker.outputs[0].name)
        elif network.computes(taker):
            found.append(taker)
    return found


def forced_answers(network: Network) -> List[Problem]:
    """A problem for each label from which answers are computed that are compared with it."""
    answers: Dict[str, List[str]] = {}
    for answer, label in network.comparisons.forced.items() if not network.settled else ():
        answers.setdefault(label, []).append(answer)
    return [
        Problem(
            "teacher-forcing",
            label,
            f"{(made[0] if len(made) == 1 else f'{made[0]} and {len(made) - 1} more')}"
            f" {'is' if len(made) == 1 else 'are'} computed from it, and {network.comparisons.sources[label]} (teacher"
            " forcing), so no request can bring it",
            "build the graph for inference, where the network reads its own answers",
        )
        for label, made in answers.items()
    ]
