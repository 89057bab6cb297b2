"""Teacher forcing: outputs that are computed from their own labels, and the tensors that are computed before that."""

from __future__ import annotations

from typing import Collection, Dict, List, Mapping, Sequence, Set

from ckpt2saved.errors import NotServable
from ckpt2saved.errors.problem import Problem
from ckpt2saved.graph.graph import Node
from ckpt2saved.graph.names import Ref, parsed
from ckpt2saved.graph.ops import CASES, CONDITIONALS, ENTERS, SELECTS, SWITCHES
from ckpt2saved.inspection.outputs import Output, output_of
from ckpt2saved.inspection.training_graph import TrainingGraph
from ckpt2saved.inspection.views import key_of
from ckpt2saved.rewrites.to_inference import find_steering

_JOINS = ("Pack", "Concat", "ConcatV2", "AddN")
# For each op that selects: the index of the input that decides.
_CONDITIONS = dict.fromkeys(SELECTS + CONDITIONALS + CASES, 0)
_CONDITIONS.update(dict.fromkeys(SWITCHES, 1))


def is_piece(training: TrainingGraph, ref: Ref, takers: Collection[Node]) -> bool:
    """Whether a tensor is only concatenated with tensors that need labels, such as the first letter of a word."""
    return bool(takers) and all(
        taker.op in _JOINS
        and not _reaches_weights(training, taker)
        and any(other[0] in training.forced for other in taker.inputs if other != ref)
        for taker in takers
    )


def leads_on(training: TrainingGraph, takers: Collection[Node]) -> bool:
    """Whether all consumers of a tensor also read labels, and weights follow: then the tensor is not an output."""
    return bool(takers) and all(taker.name in training.forced and _reaches_weights(training, taker) for taker in takers)


def find_encoders(training: TrainingGraph) -> List[Output]:
    """The last tensor that depends on no label, for a network in which everything after it reads labels."""
    if not training.comparisons.forced or training.settled:
        return []
    computed = training.computed() & training.pure
    counts: Dict[Ref, int] = {}
    for node in training.graph.nodes.values():
        for output in training.outputs(node) if node.name in computed else ():
            takers = [t for t in _takers(training, output.ref) if t.name in training.forced]
            count = sum(_reaches_weights(training, taker) for taker in takers)
            if count and output.is_float and output.rank != 0:
                counts[output.ref] = count
    if not counts:
        return []
    best = max(counts, key=lambda ref: counts[ref])
    reason = "computed before the network reads labels; everything after it needs labels"
    return [output_of(training, key_of(best, "features"), best, "values", reason)]


def settled_nodes(training: TrainingGraph, variables: Mapping[str, Sequence[int]]) -> Set[str]:
    """The nodes that select a path without labels in inference, if training switches decide so for all outputs."""
    graph = training.graph
    answers = [name for name in training.comparisons.forced if graph.has_tensor(parsed(name))]
    data = [tensor.name for tensor in training.primary + training.lengths]
    if not answers:
        return set()
    try:
        steering = find_steering(training.graph.forward_def, answers, data, variables, training.whole)
    except NotServable:
        return set()
    if steering.labels or not steering.decided:
        return set()
    decided = set(steering.decided)
    others = {tensor.ref[0] for tensor in training.sources} - decided
    settled = (decided | graph.behind(decided)) - (others | graph.behind(others))
    nodes = [node for node in graph.nodes.values() if node.op in _CONDITIONS]
    return {node.name for node in nodes if node.inputs[_CONDITIONS[node.op]][0] in settled}


def _reaches_weights(training: TrainingGraph, node: Node) -> bool:
    return any(output.ref in training.to_weights for output in training.outputs(node))


def _takers(training: TrainingGraph, ref: Ref) -> List[Node]:
    """The consumers of a tensor; the consumers inside a loop, where it enters one."""
    found: List[Node] = []
    for taker in training.graph.users(ref):
        if taker.op in ENTERS:
            found += training.graph.consumers(taker.name)
        elif training.computes(taker):
            found.append(taker)
    return found


def forced_answers(training: TrainingGraph) -> List[Problem]:
    """One problem for each label that outputs are both computed from and compared with."""
    answers: Dict[str, List[str]] = {}
    for answer, label in training.comparisons.forced.items() if not training.settled else ():
        answers.setdefault(label, []).append(answer)
    return [
        Problem(
            "teacher-forcing",
            label,
            f"{(made[0] if len(made) == 1 else f'{made[0]} and {len(made) - 1} more')}"
            f" {'is' if len(made) == 1 else 'are'} computed from it, and {training.comparisons.sources[label]} (teacher"
            " forcing), so no request can contain it",
            "build the graph for inference, where the network reads its own answers",
        )
        for label, made in answers.items()
    ]
