"""Detection of dropout, however it is written, by what it does to sample numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Optional, Sequence, Set

import numpy as np

from ckpt2saved.graph.graph import Graph, Node
from ckpt2saved.graph.names import Ref
from ckpt2saved.graph.ops import CUDNN_RNNS, PASSING, SELECTS, UNIFORM, is_random
from ckpt2saved.graph.probe import ELEMENTWISE, MOVING, Probe, Unprovable
from ckpt2saved.graph.traversal import last, walk

_JOINS = ("Mul", "RealDiv", "Div", "DivNoNan") + SELECTS
_FURTHEST = 1000  # nodes that take the random numbers; one mask may serve each step of an unrolled network
_CANDIDATES = 12  # tensors that are remembered as possible sources of a dropout
_SAMPLES = (np.arange(4000) + 0.5) / 4000  # evenly spaced in place of uniform random numbers
_X = 1.7  # the value of the source; any number does


@dataclass(frozen=True)
class Dropout:
    """Nodes that set random values to 0 and scale up the rest, so that the mean stays."""

    random: str  # the node that draws random numbers
    dropped: str  # the node that computes the result
    source: Ref  # the tensor of which values are dropped
    trivial: bool  # nothing is ever dropped

    @property
    def scope(self) -> str:
        """The common scope of both nodes."""
        common = []
        for first, second in zip(self.random.split("/"), self.dropped.split("/")):
            if first != second:
                break
            common.append(first)
        return "/".join(common) or self.dropped


def find_dropouts(graph: Graph, within: Set[str], data: Set[str], noise: Set[str]) -> List[Dropout]:
    """Each dropout among the nodes `within`; a random op may be in several, or in none."""
    found: List[Dropout] = []
    for name in graph.nodes:
        if name in within and graph[name].op in UNIFORM:
            found.extend(_Search(graph, within, data | noise, noise, name).dropouts())
    return found


class _Search:
    """Follows the random numbers of one node to the values that they select."""

    def __init__(self, graph: Graph, within: Set[str], known: Set[str], noise: Set[str], random: str) -> None:
        self.graph = graph
        self.within = within
        self.known = known  # nodes that no made-up number may replace
        self.noise = noise
        self.random = random

    def dropouts(self) -> List[Dropout]:
        found = []
        before: Dict[str, List[Ref]] = {self.random: []}  # node -> possible sources

        def following(name: str) -> Iterator[str]:
            for node in self.graph.consumers(name):
                if node.name in before or node.name not in self.within or len(before) >= _FURTHEST:
                    continue
                candidates = before[name] + [source for source in self.sources(node) if source not in before[name]]
                before[node.name] = candidates[:_CANDIDATES]
                dropout = self.proven(node, candidates)
                if dropout is not None:
                    found.append(dropout)
                elif node.op in ELEMENTWISE or node.op in PASSING + MOVING + SELECTS + ("Cast",):
                    yield node.name

        for _ in walk([self.random], following):
            pass
        return found

    def sources(self, node: Node) -> List[Ref]:
        """The possible sources of a node: its inputs that are not random, and these before scaling."""
        if node.op not in _JOINS:
            return []
        found: List[Ref] = []
        for ref in node.inputs[1:] if node.op in SELECTS else node.inputs:
            if ref[0] in self.noise and not self.is_joined_before(ref):
                continue
            found.append(ref)
            for _ in range(2):
                scaling = self.graph[self.through(ref)[0]]
                if scaling.op not in ("Mul", "RealDiv", "Div"):
                    break
                inputs = scaling.inputs if scaling.op == "Mul" else scaling.inputs[:1]
                found.extend(inputs)
                ref = inputs[0]
        return found

    def is_joined_before(self, ref: Ref) -> bool:
        """Whether a value is random because of an earlier dropout."""
        probe = Probe(self.graph, self.known, tensors={(self.random, 0): 0.5}, symbols=0, moving=True)
        try:
            probe.value(ref)
        except Unprovable:
            return True
        return False

    def through(self, ref: Ref) -> Ref:
        return last(ref, lambda one: self.graph[one[0]].inputs if self.graph[one[0]].op == "Identity" else ())

    def proven(self, node: Node, candidates: Sequence[Ref]) -> Optional[Dropout]:
        if node.op not in _JOINS:
            return None
        for source in candidates:
            results = [self.does(node, source, first_symbol) for first_symbol in (0, 3, 5)]
            if all(result == results[0] for result in results) and results[0] is not None:
                return Dropout(self.random, node.name, source, results[0] == "keeps all")
        return None

    def does(self, node: Node, source: Ref, first_symbol: int) -> Optional[str]:
        """What a node does to `source`, if that is dropout: "drops" or "keeps all"."""
        if self.is_small_constant(source):
            return None
        tensors: Any = {source: _X, (self.random, 0): _SAMPLES}
        probe = Probe(self.graph, self.known, tensors=tensors, symbols=first_symbol, moving=True)
        try:
            values = np.asarray(probe.value((node.name, 0)), dtype=float)
        except Unprovable:
            return None
        if values.shape != _SAMPLES.shape or not np.all(np.isfinite(values)):
            return None
        kept = values[values != 0]
        if len(kept) == 0 or not np.allclose(kept, kept[0], rtol=1e-9):
            return None
        if abs(np.mean(values) / _X - 1) > 2e-3:
            return None
        return "keeps all" if len(kept) == len(values) else "drops"

    def is_small_constant(self, source: Ref) -> bool:
        """Whether a tensor is a constant scalar, which would be broadcast to the random numbers: no dropout."""
        value = self.graph.constant(source)
        return value is not None and value.size <= 1


def is_dropping(node: Node) -> bool:
    """Whether a node is a recurrent network of cuDNN with active dropout."""
    return (
        node.op in CUDNN_RNNS
        and node.attr["dropout"].f > 0
        and ("is_training" not in node.attr or node.attr["is_training"].b)
    )


def random_nodes(graph: Graph, within: Set[str]) -> List[str]:
    """The nodes that draw random numbers, in the graph's order."""
    return [n for n in graph.nodes if n in within and (is_random(graph[n].op) or is_dropping(graph[n]))]
