"""Batch statistics: the means and variances over a batch that batch norm takes in training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Optional, Set, Tuple

import numpy as np

from ckpt2saved.graph.graph import Graph, Node
from ckpt2saved.graph.names import Ref
from ckpt2saved.graph.ops import FUSED_BATCH_NORMS, PASSING, SWITCHES, data_format, is_training
from ckpt2saved.graph.probe import COUNT, ELEMENTWISE, MOVING, Probe, Unprovable, reduces_batch, reduction_axes
from ckpt2saved.graph.traversal import nearest

MEAN, VARIANCE = "mean", "variance"
# No two of their moments are alike.
_SAMPLES = np.array([0.31, -1.7, 2.2, 0.93, 3.37, -0.4])
_FURTHEST = 80  # nodes after a reduction


@dataclass(frozen=True)
class BatchStatistics:
    """The tensors that hold the mean and the variance over the batch of one tensor."""

    name: str  # the fused op, or the reduction that is the mean
    fused: bool
    tensors: Dict[Ref, str]  # -> MEAN or VARIANCE; first those that others are made from
    axes: Tuple[int, ...]
    nodes: Tuple[str, ...]  # the fused op, or all reductions

    def of(self, kind: str) -> List[Ref]:
        """The tensors of one kind."""
        return [ref for ref, found in self.tensors.items() if found == kind]


def is_layer_norm(graph: Graph, node: Node) -> bool:
    """Whether a fused batch norm has a batch of one and the items as channels, as Keras's layer norm has.

    It scales by ones, as many as there are items, and no variable is sized by the batch.
    """
    if node.op not in FUSED_BATCH_NORMS or data_format(node) != "NCHW":
        return False
    reshape, scale = [graph[graph.root(ref)[0]] for ref in node.inputs[:2]]
    if reshape.op != "Reshape" or scale.op != "Fill" or graph.constant(scale.inputs[0]) is not None:
        return False
    sizes = graph[graph.root(reshape.inputs[1])[0]]
    return sizes.op == "Pack" and bool(np.array_equal(graph.constant(sizes.inputs[0]), 1))


def find_statistics(graph: Graph, within: Set[str], data: Set[str]) -> List[BatchStatistics]:
    """The batch statistics that the nodes `within` compute, in the graph's order."""
    search = _Search(graph, within, data)
    found = []
    for name in graph.nodes:
        if name not in within:
            continue
        if is_training(graph[name]) and not is_layer_norm(graph, graph[name]):
            found.append(search.fused(name))
        elif search.is_reduction(name) and name not in search.claimed:
            statistics = search.unfused(name)
            if statistics is not None:
                found.append(statistics)
    return found


class _Search:
    """The reductions over the batch, and the tensors that they reduce."""

    def __init__(self, graph: Graph, within: Set[str], data: Set[str]) -> None:
        self.graph = graph
        self.within = within
        self.data = data
        self.claimed: Set[str] = set()
        self.per_batch: Dict[str, bool] = {}
        self.reduced: Dict[Ref, List[str]] = {}  # tensor -> the reductions of it, or of its squares or differences
        self.chains: Dict[str, List[Ref]] = {}
        for name in graph.nodes:
            if self.is_reduction(name):
                self.chains[name] = self.chain(graph[name].inputs[0])
                for ref in self.chains[name]:
                    self.reduced.setdefault(ref, []).append(name)

    def is_reduction(self, name: str) -> bool:
        node = self.graph[name]
        if name not in self.within or node.op not in ("Mean", "Sum") or node.inputs[0][0] not in self.data:
            return False
        return reduces_batch(self.graph, name)

    def chain(self, ref: Ref) -> List[Ref]:
        """A tensor and those that it is computed from by squaring and shifting."""
        found = []
        for _ in range(8):
            ref = self.graph.root(ref)
            found.append(ref)
            node = self.graph[ref[0]]
            if node.op not in ELEMENTWISE:
                break
            varying = {self.graph.root(source) for source in node.inputs if not self.is_per_batch(source)}
            if len(varying) != 1:
                break
            ref = varying.pop()
        return found

    def is_per_batch(self, ref: Ref, depth: int = 0) -> bool:
        """Whether a tensor has one value for the whole batch."""
        name, _ = self.graph.root(ref)
        if name not in self.per_batch:
            self.per_batch[name] = self.is_node_per_batch(name, depth)
        return self.per_batch[name]

    def is_node_per_batch(self, name: str, depth: int) -> bool:
        if name not in self.data or self.is_reduction(name):
            return True
        node = self.graph[name]
        if depth > 12 or not (node.op in ELEMENTWISE or node.op in MOVING):
            return False
        sources = node.inputs[:1] if node.op in MOVING else node.inputs
        return all(self.is_per_batch(source, depth + 1) for source in sources)

    def fused(self, name: str) -> BatchStatistics:
        probe = self.probe({(name, 1): 3.0, (name, 2): 7.0})
        tensors = {(name, 1): MEAN, (name, 2): VARIANCE}
        self.follow([name], probe, {MEAN: [3.0], VARIANCE: [7.0]}, tensors)
        return BatchStatistics(name=name, fused=True, tensors=tensors, axes=(0,), nodes=(name,))

    def unfused(self, name: str) -> Optional[BatchStatistics]:
        axes = reduction_axes(self.graph, name)
        for source in self.chains[name]:
            group = [other for other in self.reduced[source] if reduction_axes(self.graph, other) == axes]
            tensors: Dict[Ref, str] = {}
            variance = float(np.var(_SAMPLES))
            bessel = variance * len(_SAMPLES) / (len(_SAMPLES) - 1)
            expected = {MEAN: [float(np.mean(_SAMPLES))], VARIANCE: [variance, bessel]}
            self.follow(group, self.probe({source: _SAMPLES}), expected, tensors)
            if {MEAN, VARIANCE} <= set(tensors.values()):
                self.claimed.update(group)
                return BatchStatistics(name=name, fused=False, tensors=tensors, axes=axes, nodes=tuple(group))
        return None

    def probe(self, tensors: Any) -> Probe:
        return Probe(self.graph, self.data, tensors=tensors, symbols=None)

    def follow(
        self, starts: List[str], probe: Probe, expected: Dict[str, List[float]], tensors: Dict[Ref, str]
    ) -> None:
        """Add to `tensors` those with an expected value, from `starts` on, as far as values can be computed."""

        def following(name: str) -> List[str]:
            node = self.graph[name]
            if node.op not in FUSED_BATCH_NORMS:
                refs = [(name, 0), (name, 1)] if node.op in SWITCHES else [(name, 0)]
                values = [self.scalar(probe, ref) for ref in refs]
                if values[0] is None:
                    return []
                for ref, value in zip(refs, values):
                    for kind, known in expected.items():
                        if value is not None and any(abs(value - one) < 1e-9 for one in known):
                            tensors[ref] = kind
            ops = PASSING + MOVING + ("Cast", "Sum", "Mean")
            return [user.name for user in self.graph.consumers(name) if user.op in ELEMENTWISE or user.op in ops]

        # One more node than is examined: `following` is called when the next node is requested.
        for _ in nearest(starts, following, _FURTHEST + 1):
            pass

    def scalar(self, probe: Probe, ref: Ref) -> Optional[float]:
        try:
            value = probe.value(ref)
        except Unprovable:
            return None
        return float(value) if value.ndim == 0 and value != COUNT else None


def unrecognised(graph: Graph, within: Set[str], data: Set[str]) -> List[str]:
    """The reductions over the batch by which other values are normalized."""
    search = _Search(graph, within, data)
    return [name for name in search.chains if _scales_back(search, name)]


def _scales_back(search: _Search, start: str) -> bool:
    """Whether a reduction is subtracted from what it reduced, or a root of it scales something."""
    graph = search.graph
    scales_back = False

    def following(reached: Tuple[str, bool]) -> Iterator[Tuple[str, bool]]:
        nonlocal scales_back
        name, rooted = reached
        for user in graph.consumers(name):
            if user.name not in search.within:
                continue
            if search.is_per_batch((user.name, 0)):
                yield user.name, rooted or user.op in ("Sqrt", "Rsqrt", "Pow")
            elif user.op in PASSING + MOVING:
                yield user.name, rooted
            elif user.op in ("Mul", "RealDiv", "Div", "DivNoNan") and rooted:
                scales_back = True
            elif user.op in ("Sub", "SquaredDifference") and not rooted:
                others = [graph.root(ref) for ref in user.inputs if ref[0] != name]
                scales_back = scales_back or any(other in search.chains[start] for other in others)

    return any(scales_back for _ in nearest([(start, False)], following, _FURTHEST + 1)) or scales_back
