"""Find towers: sub-networks of one graph with shared variables, for several GPUs or for validation."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import List, Sequence, Set, Tuple

from ckpt2saved.checkpoint.contents import AVERAGE
from ckpt2saved.graph.names import Ref, full_name
from ckpt2saved.inspection.parts import cut_axes, data_of, is_part
from ckpt2saved.inspection.training import find_training_ops
from ckpt2saved.inspection.training_graph import TrainingGraph

_STATISTICS = re.compile(r".*/(moving|running|pop)_?(mean|variance|var|avg)\Z")


@dataclass(frozen=True)
class Tower:
    """The sub-network that computes some output tensors with the same nodes."""

    ends: Tuple[str, ...]
    variables: Tuple[str, ...]
    untrained: Tuple[str, ...]  # variables that no optimizer updates, if there is an optimizer
    missing: Tuple[str, ...]  # variables that the checkpoint lacks
    training_ops: int

    @property
    def rank(self) -> Tuple[int, int, int]:
        """The reasons not to serve it, as counts, the gravest first; lower is better."""
        return len(self.missing), len(self.untrained), self.training_ops

    @property
    def weights(self) -> List[str]:
        """The variables without the moving statistics of batch norm, which training mode does not read."""
        return [name for name in self.variables if not _STATISTICS.match(name)]


def find_towers(training: TrainingGraph, ends: Sequence[Ref], missing: Sequence[str], *, apart: bool) -> List[Tower]:
    """The towers of these output tensors, the best first: trained, complete, with the fewest training ops.

    With `apart` (logits of several decoders), two ends are of one tower if exactly the same nodes combine data with
    weights for both; otherwise (outputs of a detector) if any of these nodes is the same. Ends that read different
    parts of one picture are also of one tower.
    """
    groups: List[Tuple[Set[str], List[Ref]]] = []
    views = {end: _views(training, end) for end in ends} if len(ends) > 1 else {}
    for end in ends:
        nodes = training.graph.upstream([end]) & training.weighted
        for group, members in groups:
            beside = any(_are_beside(views[end], views[member]) for member in members)
            if beside or (group == nodes if apart else group & nodes):
                group |= nodes
                members.append(end)
                break
        else:
            groups.append((set(nodes), [end]))
    towers = [_tower(training, members, missing) for _, members in groups]
    return sorted(towers, key=lambda tower: tower.rank)


def _views(training: TrainingGraph, end: Ref) -> Set[Tuple[Ref, Ref]]:
    """The parts of pictures that a tensor depends on: pairs of the picture and the part."""
    reached = training.graph.upstream([end])
    found: Set[Tuple[Ref, Ref]] = set()
    for name in reached & training.pure - training.behind_weights:
        node = training.graph[name]
        if is_part(training, node) and 0 not in cut_axes(training, node):
            for output in training.outputs(node):
                if any(taker.name in reached for taker in training.graph.users(output.ref)):
                    found.add((data_of(node), output.ref))
    return found


def _are_beside(first: Set[Tuple[Ref, Ref]], second: Set[Tuple[Ref, Ref]]) -> bool:
    """Whether these are different parts of the same pictures."""
    return bool(first and second) and first != second and {cut for cut, _ in first} == {cut for cut, _ in second}


def _tower(training: TrainingGraph, ends: Sequence[Ref], missing: Sequence[str]) -> Tower:
    reached = training.graph.upstream(ends)
    names = sorted(name for name in reached if name in training.variables)
    bases = {name: name[: -len(AVERAGE)] if name.endswith(AVERAGE) else name for name in names}
    weights = [name for name in names if not _STATISTICS.match(bases[name])]
    untrained = [name for name in weights if training.trained and bases[name] not in training.trained]
    found = find_training_ops(training, reached)
    lacking = [name for name in names if name in missing]
    count = len(found.dropout) + len(found.batch_norm)
    return Tower(
        ends=tuple(map(full_name, ends)),
        variables=tuple(names),
        untrained=tuple(untrained),
        missing=tuple(lacking),
        training_ops=count,
    )


def shared_variables(towers: Sequence[Tower]) -> List[str]:
    """The variables that all towers use."""
    return sorted(set.intersection(*(set(tower.variables) for tower in towers))) if towers else []
