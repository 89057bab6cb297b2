"""From a training's graph to the graph of its inference, by structure; what can't be proven is refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Collection, Iterable, List, Mapping, Sequence, Set, Tuple

from ckpt2saved.errors import NotServable
from ckpt2saved.graph.control_flow import Branch, full_name
from ckpt2saved.graph.folding import Folding
from ckpt2saved.graph.graph import (
    PLACEHOLDERS,
    Edit,
    Graph,
    Ref,
    control_flow,
    fed_by_data,
    may_be_scalar,
    noisy,
    parsed,
    written,
)
from ckpt2saved.rewrites.averages import Averages
from ckpt2saved.rewrites.batch_norm import BatchNorms
from ckpt2saved.rewrites.dropout import bypass, bypass_inside_of_ops, find_dropouts, random_nodes
from ckpt2saved.rewrites.inline_functions import lay_out
from ckpt2saved.rewrites.labels import NO_LABELS, Labels, find_labels_taken
from ckpt2saved.rewrites.leftovers import find_leftovers, undecided
from ckpt2saved.rewrites.side_effects import drop_side_effects, drop_unanswerable_checks
from ckpt2saved.rewrites.statistics import find_statistics
from ckpt2saved.rewrites.switches import Marks, Switches, find_pins, pin_edit

__all__ = ["Edit", "Inference", "Steering", "find_steering", "to_inference", "with_values"]


@dataclass(frozen=True)
class Inference:
    """A graph that answers as the network does in inference, and in what it differs from the training's."""

    graph_def: Any  # GraphDef: what the outputs depend on; what is behind the inputs is as it was
    edits: Tuple[Edit, ...]
    averages: Tuple[str, ...] = ()  # the variables that took the place of batch statistics
    idle: Tuple[Tuple[str, str], ...] = ()  # of the averages that are used, the (mean, variance) that nothing updates


def to_inference(
    graph_def: Any,
    outputs: Iterable[str],
    inputs: Iterable[str],
    variables: Mapping[str, Sequence[int]],
    pinned: Mapping[str, Any],
    labels: Labels = NO_LABELS,
) -> Inference:
    """The inference graph of a training's `graph_def`, which stays as it is, for tensors that are served.

    `inputs` are the tensors that requests feed, `variables` are the checkpoint's (name -> shape), `pinned` are
    the user's for switches ("is_train" or "is_train:0" -> False), `labels` the graph's. Raises NotServable with
    everything that can't be turned into inference without guessing.
    """
    conversion = _Conversion(graph_def, outputs, inputs, variables, labels)
    conversion.decide_switches(pinned)
    conversion.bypass_dropout()
    conversion.use_moving_averages()
    conversion.drop_side_effects()
    conversion.raise_for_leftovers()
    averages, idle = tuple(conversion.averages_used), tuple(conversion.idle)
    return Inference(conversion.graph_def(), tuple(conversion.edits), averages, idle)


def with_values(graph_def: Any, outputs: Iterable[str], inputs: Iterable[str], pinned: Mapping[str, Any]) -> Inference:
    """The training's graph as it is, but for the switches to which the user gives values; raises NotServable."""
    graph: Graph = Graph(graph_def)
    problems: List[str] = []
    known = {parsed(name) for name in inputs}
    pins = find_pins(graph, pinned, known, problems)
    if problems:
        raise NotServable("these values can't be set", problems)
    within = graph.on_the_way([parsed(name) for name in outputs], known)
    Folding(graph, within, pins, noisy(graph)).apply(within)
    kept = graph.graph_def(parsed(name)[0] for name in list(outputs) + sorted(inputs))
    return Inference(kept, tuple(pin_edit(name, value, "as asked for") for name, value in pins.items()))


@dataclass(frozen=True)
class Steering:
    """The switches between training and inference of some outputs: their values as far as the structure says."""

    decided: Mapping[str, Any]  # node -> its value in inference
    undecided: Mapping[str, str]  # node that the outputs depend on, whatever is bypassed -> why it is not decided
    misnamed: Collection[str]  # of these, those whose names contradict what their branches say
    problems: Tuple[str, ...]  # what beside the undecided can't be turned into inference
    lost: Mapping[str, str] = field(default_factory=dict)  # output -> why it has no value in inference
    unused: Tuple[str, ...] = ()  # the inputs that no output depends on in inference
    graph_def: Any = None  # GraphDef of the inference, as far as that is decided
    labels: Tuple[str, ...] = ()  # the labels that the outputs are computed from


def find_steering(
    graph_def: Any,
    outputs: Iterable[str],
    inputs: Iterable[str],
    variables: Mapping[str, Sequence[int]],
    labels: Labels = NO_LABELS,
) -> Steering:
    """What `to_inference` would make of the switches if nobody pinned any, and what else it would refuse.

    Raises NotServable where the graph lacks an output or an input.
    """
    conversion = _Conversion(graph_def, outputs, inputs, variables, labels)
    conversion.decide_switches({})
    conversion.bypass_dropout()
    conversion.use_moving_averages()
    conversion.drop_side_effects()
    left = undecided(conversion.graph, conversion.outputs, conversion.inputs, conversion.switches.reasons)
    conversion.find_leftovers()
    told = tuple(f"{name} (" for name in left)
    problems = tuple(problem for problem in conversion.problems if not problem.startswith(told))
    lost = {full_name(ref): why for ref, why in conversion.lost.items()}
    return Steering(
        conversion.decided,
        left,
        conversion.switches.misnamed,
        problems,
        lost,
        tuple(full_name(ref) for ref in conversion.unused_inputs()),
        conversion.graph_def(),
        tuple(conversion.labels_taken),
    )


def _on_branches(branches: Sequence[Branch]) -> str:
    """What is said of an output that has a value for some requests only."""
    where = [f"{written(predicate)} is {bool(side)}" for predicate, side in branches]
    return (
        f"it is on a branch of a condition, and has a value only where {' and '.join(where)}; take what leaves the"
        " condition"
    )


class _Conversion:
    """The steps, one after another, on one graph."""

    def __init__(
        self,
        graph_def: Any,
        outputs: Iterable[str],
        inputs: Iterable[str],
        variables: Mapping[str, Sequence[int]],
        labels: Labels = NO_LABELS,
    ) -> None:
        self.graph = Graph(graph_def)
        self.labels = labels
        self.outputs = [parsed(name) for name in outputs]
        self.inputs: Set[Ref] = {parsed(name) for name in inputs}
        self.variables = variables
        self.problems: List[str] = []
        self.edits: List[Edit] = []
        self.check_names()
        lay_out(self.graph, self.outputs, self.inputs)
        self.data = fed_by_data(self.graph, self.inputs)
        self.noise = noisy(self.graph)
        self.before = self.within()
        self.statistics = find_statistics(self.graph, self.before, self.data)
        self.averages = Averages(self.graph, self.statistics, self.data)

    def check_names(self) -> None:
        missing = [name for name, _ in self.outputs + sorted(self.inputs) if name not in self.graph]
        if missing:
            raise NotServable(
                "the graph does not have all tensors that are asked for",
                [f"{name}: the graph has no such node" for name in missing],
            )

    def within(self) -> Set[str]:
        """The nodes on the way to the outputs, as the graph stands."""
        return self.graph.on_the_way(self.outputs, self.inputs)

    def decide_switches(self, by_user: Mapping[str, Any]) -> None:
        pins = find_pins(self.graph, by_user, self.inputs, self.problems)
        self.switches = Switches(self.graph, self.outputs, self.inputs, self.marks(), self.noise)
        self.decided = self.switches.decided(pins, self.before)
        folding = Folding(self.graph, self.before, self.decided, self.noise)
        self.lost = {ref: self.lost_on_branch(ref, folding) for ref in self.outputs if folding.is_dead(ref)}
        folding.apply(self.before)
        branches = control_flow(self.graph)
        for ref in self.outputs:
            unknown = [branch for branch in sorted(branches.branches(ref)) if folding.value(branch[0]) is None]
            if unknown and ref not in self.lost:
                self.lost[ref] = _on_branches(unknown)
        self.problems += [f"{written(ref)}: {why}" for ref, why in self.lost.items()]
        for name, value in self.decided.items():
            self.edits.append(pin_edit(name, value, "as asked for" if name in pins else ""))

    def lost_on_branch(self, ref: Ref, folding: Folding) -> str:
        """What is said of an output that never has a value in inference."""
        switches = " and ".join("{} is {}".format(*item) for item in sorted(self.decided.items()))
        where = f", where {switches}" if switches else ""
        return f"it is on a branch of a condition that does not run in inference{where}; take what leaves the condition"

    def marks(self) -> Marks:
        trivial = {d.random for d in find_dropouts(self.graph, self.before, self.data, self.noise) if d.trivial}
        nodes = {name: "random numbers" for name in random_nodes(self.graph, self.before) if name not in trivial}
        for statistics in self.statistics:
            nodes[statistics.name] = "batch statistics"
        for name in self.averages.updates:
            nodes[name] = "an update of a moving average"
        return Marks(nodes)

    def bypass_dropout(self) -> None:
        within = self.within()
        self.edits += bypass(self.graph, find_dropouts(self.graph, within, self.data, self.noise))
        self.edits += bypass_inside_of_ops(self.graph, within)
        left = self.within()
        for name in sorted(within - left):
            node = self.graph[name]
            if node.op in PLACEHOLDERS and may_be_scalar(node):
                self.edits.append(Edit(name, "switch", f"{name}: only the dropout that is bypassed asked for it"))

    def use_moving_averages(self) -> None:
        within = self.within()
        batch_norms = BatchNorms(self.graph, self.variables, self.averages, set(self.outputs))
        self.refused: Set[str] = set()
        for number, statistics in enumerate(self.statistics):
            if any(ref[0] in within for ref in statistics.tensors):
                before = len(batch_norms.problems)
                batch_norms.replace(number, statistics)
                if len(batch_norms.problems) > before:
                    self.refused.update(statistics.nodes)
        batch_norms.done()
        self.edits += batch_norms.edits
        self.idle = batch_norms.idle
        self.averages_used = batch_norms.used
        self.problems += batch_norms.problems

    def drop_side_effects(self) -> None:
        self.edits += drop_side_effects(
            self.graph, self.outputs, self.inputs, set(self.averages.updates), self.problems
        )
        self.edits += drop_unanswerable_checks(self.graph, self.outputs, self.inputs)

    def find_leftovers(self) -> None:
        self.labels_taken = find_labels_taken(self.graph, self.outputs, self.inputs, self.labels)
        self.problems += [
            f"{name} ({self.graph[parsed(name)[0]].op}): answers are computed from it, and"
            f" {self.labels.sources[name]} (teacher forcing): build the graph for inference, where the network reads"
            " what it answered before"
            for name in self.labels_taken
        ]
        known = self.refused | {parsed(name)[0] for name in self.labels.sources}
        self.problems += find_leftovers(self.graph, self.outputs, self.inputs, self.switches.reasons, known)

    def raise_for_leftovers(self) -> None:
        self.find_leftovers()
        if self.problems:
            raise NotServable("this training's graph can't be turned into its inference safely", self.problems)

    def unused_inputs(self) -> List[Ref]:
        """The inputs that nothing on the way to the outputs takes any more."""
        nodes = [self.graph[name] for name in self.within()]
        used = {ref for node in nodes for ref in node.inputs} | {(name, 0) for node in nodes for name in node.controls}
        return [ref for ref in sorted(self.inputs) if ref not in used and ref not in self.outputs]

    def graph_def(self) -> Any:
        return self.graph.graph_def(name for name, _ in self.outputs + sorted(self.inputs))
