"""The network in a training's graph: the part between its data and its loss, apart from gradients and labels."""

from __future__ import annotations

from typing import Collection, Dict, List, Set, Tuple

from ckpt2saved.graph.dataflow import SHAPE_OPS, Dataflow, Node, Tensor
from ckpt2saved.graph.ops import (
    CALLS,
    CTC_DECODERS,
    ENTERS,
    FUNCTIONAL,
    IDENTITIES,
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
from ckpt2saved.rewrites.analyses.labels import NO_LABELS, Labels

_STEPS = IDENTITIES + SWITCHES + ENTERS
# What a dropout's probability goes through on its way, and where it meets the random numbers.
_CARRIES = ("Add", "AddV2", "Sub", "Mul", "RealDiv", "Cast", "Merge", "PlaceholderWithDefault", "Maximum", "Minimum")
_MEETS = ("Add", "AddV2", "GreaterEqual", "Greater", "Less", "LessEqual")


class Network:
    """Which nodes are the network, which tensors feed it, and which only its loss.

    `sources` are the tensors that come from outside; `switches` those that say how to run, `primary` those that reach
    the weights, `lengths` those that only a decoder's sequence lengths come from, `labels` what losses are known to
    compare answers with (`compared`), whatever they reach, and the rest. `pure` are the nodes that depend on primary
    sources and on no label: what a server could compute; `forced` are those that depend on what losses compare with,
    other than through the nodes `settled`, which hand on something else in inference; `data` those that depend on
    primary sources or lengths; `behind_weights` those with weights, and all that depends on them; `to_weights` the
    tensors on which weights follow, `followed` those on which they follow in the pure part.
    """

    def __init__(self, flow: Dataflow, labels: Labels = NO_LABELS, settled: Collection[str] = ()) -> None:
        self.flow = flow
        self.comparisons = labels
        self.settled = settled
        self.compared = [flow.tensor(name) for name in labels.sources if flow.has(name)]
        self.variables = {n.name: n for n in flow.nodes.values() if n.op in VARIABLES} or _frozen_weights(flow)
        self.training_side = flow.backward
        self.trained = self._trained()
        self.weighted: Set[str] = set()
        self.blocked: List[Node] = []
        self.sources = self._sources()
        beside = [output for tensor in self.compared for output in flow.maker(tensor.name).outputs]
        self.sources += [t for t in dict.fromkeys(beside) if t not in self.sources]  # what a parser of examples found
        self.weighted = self._weighted()
        self.blocked = self._blocked()
        self.sources = [t for t in self.sources if flow.maker(t.name) not in self.blocked]
        self.to_weights = self.leading_to(self.weighted)
        reaching = [t for t in self.sources if t.name in self.to_weights]
        self.switches = [t for t in self.sources if t.dtype == "bool" or self._is_dropout_setting(t)]
        self.switches_makers = {flow.maker(t.name).name for t in self.switches}
        self.primary = [t for t in reaching if t not in self.switches + self.compared]
        rest = [t for t in self.sources if t not in self.primary + self.switches]
        self.lengths = [t for t in rest if t not in self.compared and self._is_length(t)]
        self.labels = [t for t in rest if t in self.compared or (t not in self.lengths and not self._is_savers(t))]
        self.forced = self._not_through(settled, [t for t in self.compared if t.name not in labels.counts])
        judged = [o for name in labels.judging if name in flow.nodes for o in flow.nodes[name].outputs]
        judging = {flow.maker(o.name).name for o in judged} | self.reach([o.name for o in judged])
        others = [t for t in self.labels if t not in self.compared]
        self.tainted = (
            self.forced
            | judging
            | self.reach([t.name for t in others] + [o.name for n in self.blocked for o in n.outputs])
        )
        self.pure = self.reach([t.name for t in self.primary]) - self.tainted - {n.name for n in self.blocked}
        weighted = [output.name for name in self.weighted for output in flow.nodes[name].outputs]
        self.behind_weights = flow.downstream(weighted) | self.weighted
        self.data = self.reach([t.name for t in self.primary + self.lengths])
        self.followed = self.leading_to(self.pure & self.weighted)

    def computes(self, node: Node) -> bool:
        """Whether a node is of the forward pass, and makes a value of its inputs; a pipeline makes it of files."""
        return node.name not in self.training_side and not is_effect(node.op) and not is_pipeline(node.op)

    def reach(self, tensors: List[str]) -> Set[str]:
        """The nodes of the forward pass whose values, not only their sizes, depend on the tensors."""
        return self.flow.downstream(tensors, self._is_on_the_way)

    def leave_out(self, tensors: Collection[str]) -> None:
        """Forget sources of which nothing depends in inference."""
        self.primary = [tensor for tensor in self.primary if tensor.name not in tensors]
        self.sources = [tensor for tensor in self.sources if tensor.name not in tensors]

    def leading_to(self, nodes: Set[str]) -> Set[str]:
        """The tensors from which `reach` gets to one of the nodes; the same for all tensors in one walk."""
        found: Set[str] = set()
        seen: Set[str] = set()
        ahead = [name for name in nodes if self._is_on_the_way(self.flow.nodes[name])]
        while ahead:
            node = self.flow.nodes[ahead.pop()]
            if node.name in seen:
                continue
            seen.add(node.name)
            found.update(node.inputs)
            makers = [self.flow.maker(tensor) for tensor in node.inputs]
            ahead += [maker.name for maker in makers if maker.name not in seen and self._is_on_the_way(maker)]
        return found

    def _is_on_the_way(self, node: Node) -> bool:
        return node.op not in SHAPE_OPS and self.computes(node)

    def _not_through(self, settled: Collection[str], tensors: List[Tensor]) -> Set[str]:
        """The nodes of the forward pass whose values depend on the tensors, other than through these nodes."""
        return self.flow.downstream(
            [tensor.name for tensor in tensors],
            lambda node: self._is_on_the_way(node) and node.name not in settled,
        )

    def weights_of(self, tensors: List[str]) -> Set[str]:
        """The variables that the tensors depend on."""
        return {name for name in self.flow.upstream(tensors) if name in self.variables}

    def _trained(self) -> Set[str]:
        """The variables that an optimizer updates."""
        found: Set[str] = set()
        for node in self.flow.nodes.values():
            if is_update(node.op) and node.inputs:
                maker = self.flow.maker(node.inputs[0])
                while maker.op in _STEPS:
                    maker = self.flow.maker(maker.inputs[0])
                found.add(maker.name)
        return found & set(self.variables)

    def _sources(self) -> List[Tensor]:
        nodes = [n for n in self.flow.nodes.values() if n.op in PLACEHOLDERS or is_pipeline(n.op)]
        nodes += [n for n in self.flow.nodes.values() if n.op in PYTHON]
        return [output for node in nodes if node.name not in self.training_side for output in node.outputs]

    def _weighted(self) -> Set[str]:
        """The nodes where data meets weights that can be trained."""
        data = self.reach([t.name for t in self.sources])
        from_variables = self.reach([n.outputs[0].name for n in self.variables.values() if is_weight(n.attr)])
        found: Set[str] = set()
        for name in data:
            node = self.flow.nodes[name]
            if not is_linear(node.op) and node.op not in FUNCTIONAL:
                continue
            inputs = node.inputs[:1] if is_lookup(node.op) else node.inputs
            makers = [self.flow.maker(tensor) for tensor in inputs]
            if any(
                (m.name in from_variables or (m.name in self.variables and is_weight(m.attr))) and m.name not in data
                for m in makers
            ):
                found.add(name)
        return found

    def _blocked(self) -> List[Node]:
        """Python functions behind weights: the network is cut before them."""
        behind = self.flow.downstream(
            [o.name for name in self.weighted for o in self.flow.nodes[name].outputs], self.computes
        )
        return [self.flow.nodes[name] for name in sorted(behind) if self.flow.nodes[name].op in PYTHON]

    def _is_dropout_setting(self, tensor: Tensor) -> bool:
        """Whether this is the probability of a dropout: it meets random numbers a few nodes on."""
        if not tensor.is_float or tensor.rank not in (0, None) or self.flow.maker(tensor.name).op not in PLACEHOLDERS:
            return False
        ahead: List[Tuple[str, int]] = [(tensor.name, 0)]
        seen: Set[str] = set()
        while ahead:
            name, steps = ahead.pop()
            for node in self.flow.consumers(name):
                others = [other for other in node.inputs if other != name]
                if any(self._comes_from_random(other, 4) for other in others) and node.op in _MEETS:
                    return True
                if node.name not in seen and steps < 5 and node.op in _STEPS + _CARRIES and self.computes(node):
                    seen.add(node.name)
                    ahead += [(output.name, steps + 1) for output in node.outputs]
        return False

    def _comes_from_random(self, tensor: str, steps: int) -> bool:
        node = self.flow.maker(tensor)
        if is_random(node.op):
            return True
        return steps > 0 and node.op in _CARRIES and any(self._comes_from_random(t, steps - 1) for t in node.inputs)

    def _is_savers(self, tensor: Tensor) -> bool:
        """Whether nothing but saving and restoring takes it: a checkpoint's name."""
        takers = self.flow.downstream([tensor.name])
        return bool(takers) and any(self.flow.nodes[name].op in ("SaveV2", "RestoreV2") for name in takers)

    def _is_length(self, tensor: Tensor) -> bool:
        """Whether the sequence lengths of a decoder come from here."""
        takers = self.reach([tensor.name])
        for name in takers:
            for lengths in self.decoded_lengths(self.flow.nodes[name]):
                if lengths == tensor.name or self.flow.maker(lengths).name in takers:
                    return True
        return False

    def decoded_lengths(self, node: Node) -> List[str]:
        """The sequence lengths that a node takes, being a CTC decoder, or a call of a function that has one."""
        if node.op in CTC_DECODERS:
            return [node.inputs[1]]
        if node.op not in CALLS:
            return []
        arguments = self._lengths_inside(node.attr["f"].func.name, ())
        return [node.inputs[number] for number in arguments if number < len(node.inputs)]

    def _lengths_inside(self, name: str, callers: Tuple[str, ...]) -> List[int]:
        """Which arguments of a function its CTC decoders take for sequence lengths."""
        if name in callers or name not in self.flow.functions:
            return []
        function = self.flow.functions[name]
        numbers = {argument.name: number for number, argument in enumerate(function.signature.input_arg)}
        nodes = {node.name: node for node in function.node_def}
        ahead: List[str] = []
        for node in function.node_def:
            if node.op in CTC_DECODERS:
                ahead.append(node.input[1])
            elif node.op in CALLS:
                ahead += [node.input[n] for n in self._lengths_inside(node.attr["f"].func.name, callers + (name,))]
        found: List[int] = []
        seen: Set[str] = set()
        while ahead:
            source = ahead.pop().partition(":")[0]
            if source in numbers and numbers[source] not in found:
                found.append(numbers[source])
            elif source in nodes and source not in seen and nodes[source].op not in SHAPE_OPS:
                seen.add(source)
                ahead += [one for one in nodes[source].input if not one.startswith("^")]
        return found


def settings_of(decoder: Node) -> Dict[str, object]:
    """How a CTC decoder decodes."""
    settings: Dict[str, object] = {"merge_repeated": decoder.attr["merge_repeated"].b}
    for name in ("beam_width", "top_paths"):
        if name in decoder.attr:
            settings[name] = decoder.attr[name].i
    if "merge_repeated" not in decoder.attr:  # stripped as the op's default
        settings["merge_repeated"] = decoder.op == "CTCBeamSearchDecoder"
    return settings


def _frozen_weights(flow: Dataflow) -> Dict[str, Node]:
    """The constants that stand for the weights of a graph without variables: matrices and kernels."""
    return {
        n.name: n for n in flow.nodes.values() if n.op == "Const" and len(n.attr["value"].tensor.tensor_shape.dim) > 1
    }
