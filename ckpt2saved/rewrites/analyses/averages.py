"""The variables that hold moving averages of batch statistics, proven by their updates in the training graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set, Tuple

import numpy as np

from ckpt2saved.graph.graph import Graph
from ckpt2saved.graph.names import Ref
from ckpt2saved.graph.ops import ASSIGNMENTS, ASSIGNS_WHOLE, MERGES, PASSING, SELECTS
from ckpt2saved.graph.probe import ELEMENTWISE, MOVING, Probe, Unprovable, assigned_value
from ckpt2saved.graph.traversal import nearest
from ckpt2saved.rewrites.analyses.statistics import BatchStatistics

_FURTHEST = 60  # nodes behind an assignment; ExponentialMovingAverage with zero_debias has about thirty

Statistic = Tuple[int, str]  # which batch statistics, and MEAN or VARIANCE of them


@dataclass(frozen=True)
class _Update:
    """An assignment to a variable, and what its value is computed from."""

    name: str  # of the assignment
    target: str  # the variable
    statistics: Sequence[Ref]
    averages: Sequence[str]  # other variables, proven to be averages


class Averages:
    """For each batch statistic the variables that average it, and the assignments from it that are not understood."""

    def __init__(self, graph: Graph, statistics: Sequence[BatchStatistics], data: Set[str]) -> None:
        self._graph = graph
        self._data = data
        self._statistics: Mapping[Ref, Statistic] = {
            ref: (number, kind) for number, found in enumerate(statistics) for ref, kind in found.tensors.items()
        }
        self.variables: Dict[Statistic, List[str]] = {}
        self.unclear: Dict[Statistic, List[str]] = {}
        self.updates: Dict[str, str] = {}  # the assignments that are understood -> their variable
        self._waited_for: Optional[Set[str]] = None
        self._proven: Dict[str, Statistic] = {}
        assignments = [name for name, node in graph.nodes.items() if node.op in ASSIGNS_WHOLE]
        behind = {name: self._behind(name) for name in assignments}
        for name in assignments:
            self._try(name, *behind[name], debiasing=False)
        for name in assignments:
            self._try(name, *behind[name], debiasing=True)

    def runs(self, variable: str) -> bool:
        """Whether anything in the graph runs the updates of a variable."""
        if self._waited_for is None:
            self._waited_for = set()
            for node in self._graph.nodes.values():
                # A read of a variable through its own assignment runs nothing by itself.
                if node.op not in PASSING or self._graph.consumers(node.name):
                    self._waited_for.update(node.controls)
                    self._waited_for.update(name for name, _ in node.inputs)
        return any(name in self._waited_for for name, target in self.updates.items() if target == variable)

    def _behind(self, name: str) -> Tuple[List[Ref], List[str]]:
        """The batch statistics and the variables that an assigned value is computed from."""
        graph = self._graph
        statistics: List[Ref] = []
        variables: List[str] = []

        def following(ref: Ref) -> Sequence[Ref]:
            if ref in self._statistics or ref[0] not in graph or graph.variable(ref) is not None:
                return ()
            node = graph[ref[0]]
            if node.op in PASSING + MOVING:
                return node.inputs[:1]
            is_arithmetic = node.op in ELEMENTWISE or node.op in ASSIGNMENTS + MERGES + SELECTS + ("Cast", "AddN")
            return node.inputs if is_arithmetic else ()

        for ref in nearest([graph[name].inputs[1]], following, _FURTHEST):
            variable = graph.variable(ref)
            if ref in self._statistics:
                statistics.append(ref)
            elif variable is not None:
                variables.append(variable)
        return statistics, variables

    def _try(self, name: str, statistics: Sequence[Ref], variables: Sequence[str], debiasing: bool) -> None:
        target = self._graph.variable(self._graph[name].inputs[0])
        if target is None or name in self.updates:
            return
        averages = [other for other in variables if other in self._proven and other != target]
        of = {self._statistics[ref] for ref in statistics} | {self._proven[other] for other in averages}
        if not of or (debiasing and not averages):
            return
        proven = len(of) == 1 and all(
            self._averages(_Update(name, target, statistics, averages), symbol, debiasing) for symbol in (0, 2, 5)
        )
        for statistic in of:
            if proven:
                self.updates[name] = target
                self._proven[target] = statistic
                known = self.variables.setdefault(statistic, [])
                if target not in known:
                    # A debiased average replaces the average that it is computed from.
                    known[:] = [other for other in known if other not in averages] + [target]
                self.unclear[statistic] = [other for other in self.unclear.get(statistic, []) if other != name]
            elif statistics and name not in self.unclear.setdefault(statistic, []):
                self.unclear[statistic].append(name)

    def _averages(self, update: _Update, symbol: int, debiasing: bool) -> bool:
        """Whether an assignment moves its variable towards the statistic, or sets it to a multiple of its average."""

        def after(held: float, statistic: float) -> float:
            variables: Dict[str, Any] = dict.fromkeys(update.averages, statistic)
            variables[update.target] = held
            tensors = dict.fromkeys(update.statistics, statistic)
            probe = Probe(self._graph, self._data, tensors=tensors, variables=variables, symbols=symbol, moving=True)
            return float(assigned_value(self._graph, update.name, probe))

        try:
            of_held, of_statistic, both = after(1, 0), after(0, 1), after(2, 3)
            neither = after(0, 0)
        except (Unprovable, TypeError, ValueError):
            return False
        if not np.isfinite([of_held, of_statistic, both, neither]).all() or abs(neither) > 1e-9:
            return False
        if abs(both - 2 * of_held - 3 * of_statistic) > 1e-6 * (1 + abs(both)):
            return False
        if debiasing:
            return abs(of_held) < 1e-9 and of_statistic > 0
        return 0 < of_held < 1 and abs(of_held + of_statistic - 1) < 1e-6


def kept_by_fused(graph: Graph, statistics: BatchStatistics) -> Optional[Dict[str, str]]:
    """The variables that a fused batch norm itself averages, which TensorFlow 2.4 and later can."""
    node = graph[statistics.name] if statistics.fused else None
    if node is None or len(node.inputs) < 5 or "exponential_avg_factor" not in node.attr:
        return None
    if node.attr["exponential_avg_factor"].f in (0.0, 1.0):
        return None
    mean, variance = [graph.variable(ref) for ref in node.inputs[3:5]]
    return None if mean is None or variance is None else {"mean": mean, "variance": variance}
