"""What rewrites know besides the graph that they edit: inputs, outputs, checkpoint, user's values, analyses."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Callable, FrozenSet, Generic, Iterable, List, Mapping, Optional, Sequence, Set, Tuple, TypeVar

from ckpt2saved.errors.problem import Problem
from ckpt2saved.graph.graph import Graph, fed_by_data, noisy
from ckpt2saved.graph.names import Ref, parsed
from ckpt2saved.graph.tf1 import tf, v1_control_flow
from ckpt2saved.rewrites.analyses.averages import Averages
from ckpt2saved.rewrites.analyses.dropouts import find_dropouts, random_nodes
from ckpt2saved.rewrites.analyses.labels import NO_LABELS, Labels
from ckpt2saved.rewrites.analyses.pins import Pins, find_pins
from ckpt2saved.rewrites.analyses.statistics import BatchStatistics, find_statistics
from ckpt2saved.rewrites.analyses.switches import Switches
from ckpt2saved.rewrites.analyses.whole_training import WholeTraining
from ckpt2saved.signature.model import ServedModel

_T = TypeVar("_T")


class Cached(Generic[_T]):
    """A property that is computed when it is first read."""

    def __init__(self, compute: Callable[[Any], _T]) -> None:
        self._compute = compute
        self.__doc__ = compute.__doc__

    def __get__(self, instance: Any, owner: Any = None) -> _T:
        value = self._compute(instance)
        instance.__dict__[self._compute.__name__] = value
        return value


@dataclass(frozen=True)
class Context:
    """The inputs and outputs that are served, and facts about the original graph, which is never edited."""

    original: Graph
    outputs: Tuple[Ref, ...]
    inputs: Set[Ref]  # the tensors that requests feed
    variables: Mapping[str, Sequence[int]] = field(default_factory=dict)  # the checkpoint's shapes by name
    pinned: Mapping[str, Any] = field(default_factory=dict)  # the user's values ("is_train", "is_train:0" -> False)
    model: Optional[ServedModel] = None  # the signatures that are served
    training: Optional[WholeTraining] = None  # what the original was made from
    problems: List[Problem] = field(default_factory=list)  # those that earlier rewrites reported

    @staticmethod
    def of(graph_def: Any, outputs: Iterable[str], inputs: Iterable[str], **known: Any) -> Context:
        """The context of a GraphDef, which stays as it is, for tensors by their names."""
        ends = tuple(parsed(name) for name in outputs)
        return Context(Graph(graph_def, is_copied=False), ends, {parsed(name) for name in inputs}, **known)

    def with_ends(self, moved: Mapping[Ref, Ref]) -> Context:
        """The same context, with some inputs or outputs replaced by other tensors."""
        outputs = tuple(moved.get(ref, ref) for ref in self.outputs)
        return replace(self, outputs=outputs, inputs={moved.get(ref, ref) for ref in self.inputs})

    @property
    def labels(self) -> Labels:
        """The labels that the training's losses compare answers with."""
        return self.training.labels if self.training else NO_LABELS

    # Analyses of the original graph.

    @Cached
    def within(self) -> Set[str]:
        """The nodes that the outputs depend on."""
        return self.original.between(self.outputs, self.inputs)

    @Cached
    def imported(self) -> tf.Graph:
        """The original as a tf.Graph, which has the static shapes of tensors."""
        graph = tf.Graph()
        with graph.as_default(), v1_control_flow():
            tf.import_graph_def(self.original.graph_def(self.original.nodes), name="")
        return graph

    @Cached
    def data(self) -> Set[str]:
        """The nodes whose values depend on a request or an input pipeline."""
        return fed_by_data(self.original, self.inputs)

    @Cached
    def noise(self) -> Set[str]:
        """The nodes whose values depend on random numbers."""
        return noisy(self.original)

    @Cached
    def statistics(self) -> Sequence[BatchStatistics]:
        """The batch statistics that outputs depend on."""
        return find_statistics(self.original, self.within, self.data)

    @Cached
    def averages(self) -> Averages:
        """The variables that hold moving averages of the batch statistics."""
        return Averages(self.original, self.statistics, self.data)

    @Cached
    def pins(self) -> Pins:
        """The user's values by node, and those that can't be set."""
        return find_pins(self.original, self.pinned, self.inputs)

    @Cached
    def switches(self) -> Switches:
        """The training switches and their values in inference, as far as the structure or the user decides them."""
        switches = Switches(self.original, self.outputs, self.inputs, self._marks(), self.noise)
        switches.decide_all(self.pins.values, self.within)
        return switches

    def _marks(self) -> FrozenSet[str]:
        """The nodes that only a training has: random ops, batch statistics, updates of moving averages."""
        graph, within = self.original, self.within
        trivial = {d.random for d in find_dropouts(graph, within, self.data, self.noise) if d.trivial}
        statistics = [found.name for found in self.statistics]
        return frozenset(random_nodes(graph, within)).difference(trivial).union(statistics, self.averages.updates)
