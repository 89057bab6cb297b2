"""The network in a training's graph: the part between its data and its loss, apart from gradients and labels."""

from __future__ import annotations

import re
from typing import Collection, Dict, List, Set

from ckpt2saved.inference.backward import is_backward
from ckpt2saved.inference.edited_graph import is_pipeline
from ckpt2saved.inference.labels import NO_LABELS, Labels
from ckpt2saved.inference.weights import is_linear, is_lookup, is_weight
from ckpt2saved.inspection.dataflow import SHAPE_OPS, Dataflow, Node, Tensor
from ckpt2saved.optimizers import is_update
from ckpt2saved.random_ops import is_random

VARIABLES = frozenset(["Variable", "VariableV2", "VarHandleOp"])
DECODERS = frozenset(["CTCBeamSearchDecoder", "CTCGreedyDecoder", "CTCBeamSearchDecoderV2"])
LOSSES = frozenset(["CTCLoss", "CTCLossV2"])
PLACEHOLDERS = frozenset(["Placeholder", "PlaceholderV2", "PlaceholderWithDefault"])
PYTHON = re.compile(r"(Eager)?PyFunc(Stateless)?\Z")

# Nodes that do something, instead of making something of their inputs.
_EFFECT = re.compile(r"(Assign\w*|\w*Save\w*|\w*Summary\w*|\w*Enqueue\w*|Print\w*|Assert|NoOp|Resource\w*Apply\w*)\Z")
_CALL = re.compile(r"(Stateless|Stateful)?(While|If|Case|PartitionedCall)\Z")
_STEPS = ("Identity", "Switch", "RefSwitch", "Enter", "RefEnter", "RefIdentity")
# What a dropout's probability goes through on its way, and where it meets the random numbers.
_CARRIES = ("Add", "AddV2", "Sub", "Mul", "RealDiv", "Cast", "Merge", "PlaceholderWithDefault", "Maximum", "Minimum")
_MEETS = ("Add", "AddV2", "GreaterEqual", "Greater", "Less", "LessEqual")


class Network:
    """Which nodes are the network, which tensors feed it, and which only its loss.

    `sources` are the tensors that come from outside; `switches` those that say how to run, `primary` those that reach
    the weights, `lengths` those that only a decoder's sequence lengths come from, `labels` what losses are known to
    compare answers with (`compared`), whatever they reach, and the rest. `pure` are the nodes that depend on primary
    sources and on no label: what a server could compute; `forced` are those that depend on what losses compare with,
    other than through the nodes `settled`, which hand on something else in inference.
    """

    def __init__(self, flow: Dataflow, labels: Labels = NO_LABELS, settled: Collection[str] = ()) -> None:
        self.flow = flow
        self.comparisons = labels
        self.settled = settled
        self.compared = [flow.tensor(name) for name in labels.sources if flow.has(name)]
        self.variables = {n.name: n for n in flow.nodes.values() if n.op in VARIABLES}
        self.training_side = self._training_side()
        self.trained = self._trained()
        self.weighted = set()  # type: Set[str]
        self.blocked = []  # type: List[Node]
        self.sources = self._sources()
        beside = [output for tensor in self.compared for output in flow.maker(tensor.name).outputs]
        self.sources += [t for t in dict.fromkeys(beside) if t not in self.sources]  # what a parser of examples found
        self.weighted = self._weighted()
        self.blocked = self._blocked()
        self.sources = [t for t in self.sources if flow.maker(t.name) not in self.blocked]
        reaching = [t for t in self.sources if self.reach([t.name]) & self.weighted]
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

    def computes(self, node: Node) -> bool:
        """Whether a node is of the forward pass, and makes a value of its inputs; a pipeline makes it of files."""
        return node.name not in self.training_side and not _EFFECT.match(node.op) and not is_pipeline(node.op)

    def reach(self, tensors: List[str]) -> Set[str]:
        """The nodes of the forward pass whose values, not only their sizes, depend on the tensors."""
        return self.flow.downstream(tensors, lambda node: node.op not in SHAPE_OPS and self.computes(node))

    def _not_through(self, settled: Collection[str], tensors: List[Tensor]) -> Set[str]:
        """The nodes of the forward pass whose values depend on the tensors, other than through these nodes."""
        return self.flow.downstream(
            [tensor.name for tensor in tensors],
            lambda node: node.op not in SHAPE_OPS and self.computes(node) and node.name not in settled,
        )

    def weights_of(self, tensors: List[str]) -> Set[str]:
        """The variables that the tensors depend on."""
        return {name for name in self.flow.upstream(tensors) if name in self.variables}

    def _training_side(self) -> Set[str]:
        gradients = {node.name for node in self.flow.nodes.values() if is_backward(node.name, node.op)}
        # A functional loop takes the empty lists that its gradient wants filled: what is made of constants alone in the
        # gradients' scope is no gradient yet.
        forward = [
            output.name
            for node in self.flow.nodes.values()
            if node.name not in gradients and node.op != "Const"
            for output in node.outputs
        ]
        depending = gradients & self.flow.downstream(forward)
        made = [output.name for name in depending for output in self.flow.nodes[name].outputs]
        return gradients | self.flow.downstream(made, lambda node: node.op != "NextIteration")

    def _trained(self) -> Set[str]:
        """The variables that an optimizer updates."""
        found = set()  # type: Set[str]
        for node in self.flow.nodes.values():
            if is_update(node.op) and node.inputs:
                maker = self.flow.maker(node.inputs[0])
                while maker.op in _STEPS:
                    maker = self.flow.maker(maker.inputs[0])
                found.add(maker.name)
        return found & set(self.variables)

    def _sources(self) -> List[Tensor]:
        nodes = [n for n in self.flow.nodes.values() if n.op in PLACEHOLDERS or is_pipeline(n.op)]
        nodes += [n for n in self.flow.nodes.values() if PYTHON.match(n.op)]
        return [output for node in nodes if node.name not in self.training_side for output in node.outputs]

    def _weighted(self) -> Set[str]:
        """The nodes where data meets weights that can be trained."""
        data = self.reach([t.name for t in self.sources])
        from_variables = self.reach([n.outputs[0].name for n in self.variables.values() if is_weight(n.attr)])
        found = set()  # type: Set[str]
        for name in data:
            node = self.flow.nodes[name]
            if not is_linear(node.op) and not _CALL.match(node.op):
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
        return [self.flow.nodes[name] for name in sorted(behind) if PYTHON.match(self.flow.nodes[name].op)]

    def _is_dropout_setting(self, tensor: Tensor) -> bool:
        """Whether this is the probability of a dropout: it meets random numbers a few nodes on."""
        if not tensor.is_float or tensor.rank not in (0, None) or self.flow.maker(tensor.name).op not in PLACEHOLDERS:
            return False
        ahead, seen = [(tensor.name, 0)], set()  # type: List[Tuple[str, int]], Set[str]
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
            node = self.flow.nodes[name]
            if node.op in DECODERS:
                lengths = node.inputs[1]
                if lengths == tensor.name or self.flow.maker(lengths).name in takers:
                    return True
        return False


def settings_of(decoder: Node) -> Dict[str, object]:
    """How a CTC decoder decodes."""
    settings = {"merge_repeated": decoder.attr["merge_repeated"].b}  # type: Dict[str, object]
    for name in ("beam_width", "top_paths"):
        if name in decoder.attr:
            settings[name] = decoder.attr[name].i
    if "merge_repeated" not in decoder.attr:  # stripped as the op's default
        settings["merge_repeated"] = decoder.op == "CTCBeamSearchDecoder"
    return settings
