"""A training's graph, divided into the network, its inputs, training switches, and what only the loss needs."""

from __future__ import annotations

from typing import Collection, Dict, Iterable, List, Mapping, Optional, Sequence, Set, Tuple

from ckpt2saved.graph.control_flow import ControlFlow
from ckpt2saved.graph.graph import Graph, Node, Tensor
from ckpt2saved.graph.names import Ref, node_name, parsed
from ckpt2saved.graph.ops import (
    CALLS,
    CTC_DECODERS,
    ENTERS,
    FUNCTIONAL,
    IDENTITIES,
    OF_SIZES,
    PLACEHOLDERS,
    PYTHON,
    SWITCHES,
    VARIABLES,
    is_effect,
    is_linear,
    is_lookup,
    is_pipeline,
    is_random,
    is_update,
    is_weight,
)
from ckpt2saved.graph.traversal import last, reach, walk, within
from ckpt2saved.rewrites.analyses.whole_training import WholeTraining

_STEPS = IDENTITIES + SWITCHES + ENTERS
# Ops between the probability of a dropout and its random numbers, and ops that combine the two.
_CARRIES = ("Add", "AddV2", "Sub", "Mul", "RealDiv", "Cast", "Merge", "PlaceholderWithDefault", "Maximum", "Minimum")
_MEETS = ("Add", "AddV2", "GreaterEqual", "Greater", "Less", "LessEqual")
_FURTHEST = 5  # the most steps from the probability of a dropout to its random numbers


class TrainingGraph:
    """Which nodes are the network, which tensors feed it, and which feed only the loss.

    Tensors: `sources` are placeholders and outputs of input pipelines and Python functions. Among them, `switches` are
    training switches, `primary` reach the weights, `lengths` are sequence lengths of a decoder, `compared` are compared
    with outputs by a loss, and `labels` are `compared` and all remaining sources. `to_weights` are the tensors that
    weights follow, `followed` those that weights of the pure part follow.

    Nodes: `weighted` combine data with weights. `pure` depend on primary sources and on no label: a server can compute
    them. `forced` depend on `compared`, other than through the nodes `settled`, which select a path without labels in
    inference. `data` depend on primary sources or lengths. `behind_weights` are `weighted` and their consumers.
    """

    def __init__(
        self,
        graph: Graph,
        whole: WholeTraining,
        foreign: Sequence[Node] = (),
        settled: Collection[str] = (),
    ) -> None:
        """`graph` has the static shapes, and lacks the nodes `foreign`, whose ops this TensorFlow does not have."""
        self.graph = graph
        self.foreign = foreign
        self.whole = whole
        self.comparisons = labels = whole.labels
        self.settled = settled
        self._control: Optional[ControlFlow] = None
        self._exits: Optional[Dict[str, List[Node]]] = None
        compared = [parsed(name) for name in labels.sources]
        self.compared = [graph.tensor(ref) for ref in compared if graph.has_tensor(ref)]
        self.variables = {n.name: n for n in graph.nodes.values() if n.op in VARIABLES} or _frozen_weights(graph)
        self.backward = graph.backward.nodes
        self.trained = self._trained()
        self.weighted: Set[str] = set()
        self.blocked: List[Node] = []
        self.sources = self._sources()
        beside = [output for tensor in self.compared for output in graph.outputs[tensor.ref[0]]]
        self.sources += [
            t for t in dict.fromkeys(beside) if t not in self.sources
        ]  # the other outputs of an op that parses examples
        self.weighted = self._weighted()
        self.blocked = self._blocked()
        blocked = {node.name for node in self.blocked}
        self.sources = [t for t in self.sources if t.ref[0] not in blocked]
        self.to_weights = self.leading_to(self.weighted)
        reaching = [t for t in self.sources if t.ref in self.to_weights]
        self.switches = [t for t in self.sources if t.dtype == "bool" or self._is_dropout_setting(t)]
        self.switches_makers = {t.ref[0] for t in self.switches}
        self.primary = [t for t in reaching if t not in self.switches + self.compared]
        rest = [t for t in self.sources if t not in self.primary + self.switches]
        self.lengths = [t for t in rest if t not in self.compared and self._is_length(t)]
        self.labels = [t for t in rest if t in self.compared or (t not in self.lengths and not self._is_savers(t))]
        self.forced = self._not_through(settled, [t for t in self.compared if t.name not in labels.counts])
        judging = {name for name in labels.judging if name in graph}
        judging |= self.reach(graph.outputs_of(judging))
        others = [t.ref for t in self.labels if t not in self.compared]
        self.tainted = self.forced | judging | self.reach(others + graph.outputs_of(blocked))
        self.pure = self.reach(t.ref for t in self.primary) - self.tainted - blocked
        self.behind_weights = graph.behind(self.weighted) | self.weighted
        self.data = self.reach(t.ref for t in self.primary + self.lengths)
        self.followed = self.leading_to(self.pure & self.weighted)

    @property
    def control(self) -> ControlFlow:
        """The while loops and conditions of the forward pass."""
        if self._control is None:
            self._control = ControlFlow(node for node in self.graph.nodes.values() if node.name not in self.backward)
        return self._control

    @property
    def exits(self) -> Mapping[str, List[Node]]:
        """The Exit nodes of each loop, by name scope."""
        if self._exits is None:
            self._exits = {}
            for node in self.graph.nodes.values():
                if node.op == "Exit":
                    self._exits.setdefault(node.name.rpartition("/")[0], []).append(node)
        return self._exits

    def is_in_loop(self, ref: Ref) -> bool:
        """Whether a tensor is inside a while loop, where it can be neither fed nor fetched."""
        return bool(self.control.loops(ref[0]))

    def computes(self, node: Node) -> bool:
        """Whether a node is in the forward pass and computes a value from its inputs; not an input pipeline."""
        return node.name not in self.backward and not is_effect(node.op) and not is_pipeline(node.op)

    def reach(self, tensors: Iterable[Ref]) -> Set[str]:
        """The nodes of the forward pass whose values, not only shapes, depend on the tensors."""
        return self.graph.downstream(tensors, self._is_on_the_way)

    def computed(self) -> Set[str]:
        """The nodes with weights, and those whose values depend on them."""
        return self.reach(self.graph.outputs_of(self.weighted)) | self.weighted

    def leave_out(self, tensors: Collection[str]) -> None:
        """Remove sources that nothing depends on in inference."""
        self.primary = [tensor for tensor in self.primary if tensor.name not in tensors]
        self.sources = [tensor for tensor in self.sources if tensor.name not in tensors]

    def leading_to(self, nodes: Set[str]) -> Set[Ref]:
        """The tensors from which `reach` would reach one of the nodes."""
        graph = self.graph

        def following(name: str) -> List[str]:
            return [source for source in graph[name].sources if self._is_on_the_way(graph[source])]

        reached = reach([name for name in nodes if self._is_on_the_way(graph[name])], following)
        return {ref for name in reached for ref in graph[name].inputs}

    def _is_on_the_way(self, node: Node) -> bool:
        return node.op not in OF_SIZES and self.computes(node)

    def _not_through(self, settled: Collection[str], tensors: List[Tensor]) -> Set[str]:
        """The nodes of the forward pass whose values depend on the tensors, other than through these nodes."""
        return self.graph.downstream(
            [tensor.ref for tensor in tensors],
            lambda node: self._is_on_the_way(node) and node.name not in settled,
        )

    def weights_of(self, tensors: Iterable[Ref]) -> Set[str]:
        """The variables that the tensors depend on."""
        return {name for name in self.graph.upstream(tensors) if name in self.variables}

    def _trained(self) -> Set[str]:
        """The variables that an optimizer updates."""

        def step(name: str) -> List[str]:
            return self.graph[name].sources if self.graph[name].op in _STEPS else []

        updates = [node for node in self.graph.nodes.values() if is_update(node.op) and node.inputs]
        return {last(node.inputs[0][0], step) for node in updates} & set(self.variables)

    def _sources(self) -> List[Tensor]:
        nodes = [n for n in self.graph.nodes.values() if n.op in PLACEHOLDERS or is_pipeline(n.op)]
        nodes += [n for n in self.graph.nodes.values() if n.op in PYTHON]
        return [output for node in nodes if node.name not in self.backward for output in self.outputs(node)]

    def outputs(self, node: Node) -> List[Tensor]:
        """The output tensors of a node."""
        return list(self.graph.outputs.get(node.name, ()))

    def _weighted(self) -> Set[str]:
        """The nodes that combine data with trainable weights."""
        data = self.reach(t.ref for t in self.sources)
        weights = {n.name for n in self.variables.values() if is_weight(n.attr)}
        from_variables = self.reach((name, 0) for name in weights) | weights
        found: Set[str] = set()
        for name in data:
            node = self.graph[name]
            if not is_linear(node.op) and node.op not in FUNCTIONAL:
                continue
            sources = node.sources[:1] if is_lookup(node.op) else node.sources
            if any(source in from_variables and source not in data for source in sources):
                found.add(name)
        return found

    def _blocked(self) -> List[Node]:
        """Python functions after weights: the network is cut before them."""
        found = self.graph.behind(self.weighted, self.computes)
        return [self.graph[name] for name in sorted(found) if self.graph[name].op in PYTHON]

    def _is_dropout_setting(self, tensor: Tensor) -> bool:
        """Whether this is the probability of a dropout: it is combined with random numbers a few nodes later."""
        graph = self.graph
        if not tensor.is_float or tensor.rank not in (0, None) or graph.maker(tensor.ref).op not in PLACEHOLDERS:
            return False

        def following(name: str) -> List[str]:
            nodes = graph.consumers(name)
            return [n.name for n in nodes if n.op in _STEPS + _CARRIES and self.computes(n)]

        for name in within([tensor.ref[0]], following, _FURTHEST):
            for node in graph.consumers(name):
                others = [source for source in node.sources if source != name]
                if node.op in _MEETS and any(self._comes_from_random(other) for other in others):
                    return True
        return False

    def _comes_from_random(self, name: str) -> bool:
        def following(one: str) -> List[str]:
            return self.graph[one].sources if self.graph[one].op in _CARRIES else []

        return any(is_random(self.graph[one].op) for one in within([name], following, _FURTHEST - 1))

    def _is_savers(self, tensor: Tensor) -> bool:
        """Whether it is the file name of a Saver."""
        takers = self.graph.downstream([tensor.ref])
        return bool(takers) and any(self.graph[name].op in ("SaveV2", "RestoreV2") for name in takers)

    def _is_length(self, tensor: Tensor) -> bool:
        """Whether the sequence lengths of a decoder depend on it."""
        takers = self.reach([tensor.ref])
        return any(
            lengths == tensor.ref or lengths[0] in takers
            for name in takers
            for lengths in self.decoded_lengths(self.graph[name])
        )

    def decoded_lengths(self, node: Node) -> List[Ref]:
        """The sequence lengths of a CTC decoder, or of a call of a function that has one; empty for other nodes."""
        if node.op in CTC_DECODERS:
            return [node.inputs[1]]
        if node.op not in CALLS:
            return []
        arguments = self._lengths_inside(node.attr["f"].func.name, ())
        return [node.inputs[number] for number in arguments if number < len(node.inputs)]

    def _lengths_inside(self, name: str, callers: Tuple[str, ...]) -> List[int]:
        """The numbers of the arguments that CTC decoders in a function use as sequence lengths."""
        if name in callers or name not in self.graph.functions:
            return []
        function = self.graph.functions[name]
        numbers = {argument.name: number for number, argument in enumerate(function.signature.input_arg)}
        nodes = {node.name: node for node in function.node_def}
        starts: List[str] = []
        for node in function.node_def:
            if node.op in CTC_DECODERS:
                starts.append(node_name(node.input[1]))
            elif node.op in CALLS:
                inside = self._lengths_inside(node.attr["f"].func.name, (*callers, name))
                starts += [node_name(node.input[number]) for number in inside]

        def following(source: str) -> List[str]:
            node = nodes.get(source)
            if source in numbers or node is None or node.op in OF_SIZES:
                return []
            return [node_name(one) for one in node.input if not one.startswith("^")]

        return [numbers[source] for source in walk(starts, following) if source in numbers]


def _frozen_weights(graph: Graph) -> Dict[str, Node]:
    """The constants that are the weights of a frozen graph: matrices and kernels."""
    constants = [node for node in graph.nodes.values() if node.op == "Const"]
    return {node.name: node for node in constants if len(node.attr["value"].tensor.tensor_shape.dim) > 1}
