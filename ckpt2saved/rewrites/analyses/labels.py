"""Labels: fed tensors with which a loss compares the network's answers, found by structure and not by names.

A comparison is an op with known label inputs (cross entropy, CTC, edit distance), or arithmetic between an answer and
a tensor that depends on no weight, on the way to the tensor that gradients are taken of: a difference whose magnitude
counts, a product, a select. A source that the answer is computed from is not a label where it is compared with its own
reconstruction: a picture in an autoencoder, the text of a language model.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Callable, Collection, Dict, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from ckpt2saved.graph.backward import differentiated
from ckpt2saved.graph.graph import Graph, Node
from ckpt2saved.graph.inlining import has_calls, inline_functions
from ckpt2saved.graph.names import Ref, full_name, parsed
from ckpt2saved.graph.ops import (
    OF_SIZES,
    PLACEHOLDERS,
    SELECTS,
    SWITCHES,
    VARIABLES,
    is_effect,
    is_linear,
    is_lookup,
    is_never_served,
    is_random,
    is_weight,
    parses_examples,
)
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.graph.traversal import behind, reach, reversed_edges, settle, within

# The inputs of ops that compare: those that hold the answer, and those that hold labels.
_COMPARE = {
    "SparseSoftmaxCrossEntropyWithLogits": ((0,), (1,)),
    "SoftmaxCrossEntropyWithLogits": ((0,), (1,)),
    "CTCLoss": ((0,), (1, 2)),
    "CTCLossV2": ((0,), (1, 2)),
    "WarpCTC": ((0,), (1, 2)),  # of Baidu's library
    "InTopK": ((0,), (1,)),
    "InTopKV2": ((0,), (1,)),
    "EditDistance": ((0, 1, 2), (3, 4, 5)),
}
_EITHER_WAY = ("EditDistance",)  # symmetric: either side may be the label
_CLASSES = ("SparseSoftmaxCrossEntropyWithLogits", "SoftmaxCrossEntropyWithLogits", "CTCLoss", "CTCLossV2", "WarpCTC")
_SIZES = OF_SIZES + ("TensorArrayV3", "TensorArrayV2", "TensorListReserve", "EmptyTensorList")
_STACKS = ("TensorArrayGatherV3", "TensorArrayReadV3")  # the values come last, after a handle and indices
_SIZED = (
    "Reshape",
    "Tile",
    "BroadcastTo",
    "Slice",
    "StridedSlice",
    "TensorListGetItem",
    "TensorListStack",
)  # the values come first, before sizes and indices
_TRUTHS = re.compile(r"(Less|LessEqual|Greater|GreaterEqual|Equal|NotEqual|Logical\w+|IsNan|IsFinite|Any|All)\Z")
_DIFFERENCES = ("Sub", "SquaredDifference")
_SUMS = ("Add", "AddV2")
# Ops after which the magnitude of a difference counts, not its sign.
_MAGNITUDES = ("Square", "Abs", "Pow", "L2Loss", "Cosh", "Softplus", "Maximum", "Relu", "ComplexAbs")
_SCALINGS = ("Mul", "RealDiv", "Div", "DivNoNan", "Neg")
_VIEWS = re.compile(
    r"(Identity|StopGradient|Reshape|Squeeze|ExpandDims|Cast|Transpose|Slice|StridedSlice|Gather\w*|Pack|ConcatV2|Enter"
    r"|Exit|Merge|Switch|Tile|BroadcastTo|CheckNumerics|PreventGradient|Snapshot)\Z"
)
_MEETINGS = re.compile(r"(Mul|MulNoNan|Xlogy|Minimum|Maximum|MatMul|BatchMatMul\w*|Einsum|Gather\w*)\Z")
# TensorFlow writes log(1 + exp(x)) in the cross entropy of a sigmoid with one of these.
_SIGMOID = ("Relu", "Maximum") + SELECTS
_FLOATS = frozenset([1, 2, 4, 7, 14, 19])  # float32, float64, uint8, string (of an encoded picture), bfloat16, float16


@dataclass(frozen=True)
class Labels:
    """The tensors that losses compare answers with."""

    sources: Mapping[str, str]  # tensor -> what is done with it, as in "loss (CTCLoss) compares answers with it"
    forced: Mapping[str, str]  # answer that is computed from the label that it is compared with -> that label
    counts: Sequence[str]  # of the sources, those that only set the number of steps of answers
    judging: Sequence[str]  # nodes that compare an answer with its own input
    _made: Callable[[Ref], Sequence[str]]

    def behind(self, tensor: str) -> str:
        """The label that a tensor is, or is computed from alone; "" where it is no label."""
        made_of = self._made(parsed(tensor))
        return made_of[0] if made_of and all(name in self.sources for name in made_of) else ""

    def refusal(self, tensor: str) -> str:
        """Why requests should not feed a tensor; "" where they may."""
        label = self.behind(tensor)
        if not label:
            return ""
        made = "it" if parsed(label) == parsed(tensor) else f"it is computed from {label}, which"
        return f"{made} is a label: {self.sources[label]}, so that a client would have to send the answer"


NO_LABELS = Labels(sources={}, forced={}, counts=(), judging=(), _made=lambda ref: ())


def find_labels(graph: Graph, shapes: Mapping[str, Any] = {}) -> Labels:
    """The labels of a training graph, which is not changed.

    `shapes` are the TensorShapeProtos of nodes' outputs, as far as they are known.
    """
    return _Analysis(graph, shapes).labels()


@dataclass(frozen=True)
class _Comparison:
    """A node that combines an answer with another tensor."""

    node: Node
    answers: Tuple[Ref, ...]
    others: int  # the sources of the other tensor, as bits
    of_classes: bool = False


class _Analysis:
    """Which nodes depend on which sources, as bits of integers, and on weights."""

    def __init__(self, graph: Graph, shapes: Mapping[str, Any]) -> None:
        self.graph = graph
        self.shapes = shapes
        if has_calls(graph):
            self.graph = graph.copy()
            forward = [(name, 0) for name in graph.nodes if name not in graph.backward.nodes]
            inline_functions(self.graph, forward, set())
        self.backward = self.graph.backward.nodes
        self.nodes = {name: node for name, node in self.graph.nodes.items() if name not in self.backward}
        self.values = {name: _values(node) for name, node in self.nodes.items()}
        self.takers = reversed_edges({name: [ref[0] for ref in refs] for name, refs in self.values.items()})
        self.sources = list(self._sources())
        self.weighted = self._weighted()
        heavy = {n.name for n in self.weighted if not is_lookup(n.op)}
        self.deep = self._downstream(heavy)
        self.sources = list(self._sources(after=self.deep))
        self.bits = {ref: 1 << number for number, ref in enumerate(self.sources)}
        self.outside = {name for name, _ in self.sources}
        self.any = self._spread(lambda node: True)
        self.free = self._spread(lambda node: node.name not in heavy, self._carried)
        self.raw = self._spread(lambda node: node.name not in heavy and not _TRUTHS.match(node.op), self._carried)
        self.entered = self._handed_on({name: self.any.get(name, 0) for name in heavy})
        self.before = self._upstream(heavy)
        self.main = self._main()
        self.meeting = self._meeting()

    def labels(self) -> Labels:
        comparisons = list(self._comparisons())
        compared = 0
        for comparison in comparisons:
            compared |= comparison.others
        found = 0
        reasons: Dict[str, str] = {}
        judging: List[str] = []
        for comparison in comparisons:
            made_of = self._made_of(comparison.answers)
            asked = made_of & self.main & ~compared
            for number, ref in enumerate(self.sources):
                bit = 1 << number
                if not comparison.others & bit:
                    continue
                if self._is_reconstructed(ref, bit, made_of, asked, comparison):
                    judging.append(comparison.node.name)
                    continue
                found |= bit
                reasons.setdefault(full_name(ref), f"{_named(comparison.node)} compares answers with it")
        if self.main and not self.main & ~found:  # no input would be left: pictures translated both ways
            kept = [ref for ref in self.sources if self.bits[ref] & found & self.main and self._is_picture(ref)]
            for ref in kept:
                found &= ~self.bits[ref]
                reasons.pop(full_name(ref))
        counts: List[str] = []
        for ref, node in self._counts_of_steps(comparisons, found):
            counts.append(full_name(ref))
            found |= self.bits[ref]
            reasons.setdefault(full_name(ref), f"{_named(node)} weighs the loss by it, and answers have as many steps")
        forced: Dict[str, str] = {}
        for comparison in comparisons:
            own = self._made_of(comparison.answers) & found & comparison.others
            if own and comparison.node.name not in self.before:
                forced.setdefault(full_name(comparison.answers[0]), self._names(own)[0])
        return Labels(
            sources=reasons, forced=forced, counts=counts, judging=tuple(dict.fromkeys(judging)), _made=self._sources_of
        )

    def _sources_of(self, ref: Ref) -> Sequence[str]:
        return self._names(self._mask(ref, self.any))

    def _is_reconstructed(self, ref: Ref, bit: int, made_of: int, asked: int, comparison: _Comparison) -> bool:
        """Whether the answer is computed from what it is compared with, as the picture of an autoencoder."""
        if not made_of & bit:
            return False
        return not asked or (self._is_picture(ref) and not comparison.of_classes)

    def _counts_of_steps(self, comparisons: Sequence[_Comparison], labels: int) -> Iterator[Tuple[Ref, Node]]:
        """The lengths of labels: they weight a loss, and set the number of steps of a loop, but not its values.

        Lengths of inputs do change the values of answers: a recurrent network stops at them.
        """
        answers = [ref for comparison in comparisons for ref in comparison.answers]
        valued = labels | self.main
        for ref in answers:
            valued |= self._mask(ref, self.any)
        reached = self.graph.between(answers, ())
        seen = 0
        for node in self.meeting:
            if node.op not in _COMPARE:
                for ref in _values(node):
                    bits = 0 if ref[0] in self.deep else self._mask(ref, self.free) & ~valued & ~seen
                    seen |= bits
                    yield from ((one, node) for one in self.sources if self.bits[one] & bits and one[0] in reached)

    def _meeting(self) -> List[Node]:
        """The nodes from the last weights to the losses."""
        region = self._of_losses()
        return [
            n for n in self.nodes.values() if n.name in region and n.name in self.deep and n.name not in self.before
        ]

    def _names(self, bits: int) -> List[str]:
        return [full_name(ref) for ref in self.sources if self.bits[ref] & bits]

    # What depends on what.

    def _sources(self, after: Collection[str] = ()) -> Iterator[Ref]:
        """The tensors that come from outside of the graph, without results of Python calls `after` weights."""
        for node in self.nodes.values():
            if node.op in PLACEHOLDERS:
                shape = node.attr["shape"].shape if "shape" in node.attr else None
                single = shape is not None and not shape.unknown_rank and not shape.dim
                if not single and node.attr["dtype"].type != tf.bool.as_datatype_enum:
                    yield node.name, 0
            elif (is_never_served(node.op) or parses_examples(node.op)) and node.name not in after:
                taken = {ref for other in self.graph.consumers(node.name) for ref in other.inputs}
                yield from sorted(ref for ref in taken if ref[0] == node.name)

    def _mask(self, ref: Ref, masks: Mapping[str, int]) -> int:
        return self.bits.get(ref, 0) if ref[0] in self.outside else masks.get(ref[0], 0)

    def _made_of(self, answers: Sequence[Ref]) -> int:
        """The sources that answers are computed from by weights; those of indices and factors do not count."""
        mask = 0
        for ref in answers:
            mask |= self.entered.get(ref[0], 0) if ref[0] in self.deep else self._mask(ref, self.any)
        return mask

    def _spread(
        self, passes: Callable[[Node], bool], inputs: Optional[Callable[[Node], Sequence[Ref]]] = None
    ) -> Dict[str, int]:
        """For each node the sources that its values depend on, through nodes for which `passes` is true."""
        masks: Dict[str, int] = {}

        def update(name: str) -> Sequence[str]:
            node = self.nodes[name]
            if name in self.outside or is_never_served(node.op) or not passes(node):
                return ()  # a request can't feed what Python computes from answers
            mask = masks.get(name, 0)
            new = mask
            for ref in self.values[name] if inputs is None else inputs(node):
                new |= self._mask(ref, masks)
            if new == mask:
                return ()
            masks[name] = new
            return self.takers.get(name, ())

        settle([taker for name in self.outside for taker in self.takers.get(name, ())], update)
        return masks

    def _carried(self, node: Node) -> Sequence[Ref]:
        """The inputs whose values a node's output contains: of a look-up in data, without the indices."""
        picks = is_lookup(node.op) and self._mask(node.inputs[0], self.any)
        return node.inputs[:1] if picks else self.values[node.name]

    def _met(self, ref: Ref) -> int:
        """The sources of a tensor; those of masks only where there are no others."""
        return self._mask(ref, self.raw) or self._mask(ref, self.free)

    def _handed_on(self, masks: Dict[str, int]) -> Dict[str, int]:
        """The masks, extended to all nodes that depend on theirs."""

        def update(name: str) -> Iterator[str]:
            for taker in self.takers.get(name, ()):
                new = masks.get(taker, 0) | masks[name]
                if new != masks.get(taker):
                    masks[taker] = new
                    yield taker

        settle(list(masks), update)
        return masks

    def _downstream(self, names: Set[str]) -> Set[str]:
        return reach(names, lambda name: self.takers.get(name, ()))

    def _upstream(self, names: Set[str]) -> Set[str]:
        """The nodes that the values of nodes depend on, without these themselves."""
        return behind(names, lambda name: [ref[0] for ref in self.values[name] if ref[0] in self.nodes])

    def _weighted(self) -> List[Node]:
        """The nodes that apply weights to data."""
        data = self._downstream(
            {name for name, _ in self.sources}
            | {n.name for n in self.nodes.values() if is_random(n.op)}
            | {n.name for n in self.nodes.values() if n.op in PLACEHOLDERS}
        )
        weights = [n.name for n in self.nodes.values() if n.op in VARIABLES and is_weight(n.attr)]
        of_weights = reach(weights, lambda name: [taker for taker in self.takers.get(name, ()) if taker not in data])
        found = []
        for node in self.nodes.values():
            if is_linear(node.op) and node.name in data:
                inputs = node.inputs[:1] if is_lookup(node.op) else node.inputs
                if any(ref[0] in of_weights for ref in inputs):
                    found.append(node)
        return found

    def _main(self) -> int:
        """The sources that weights are applied to: pictures, features, numbers that are looked up in embeddings."""
        mask = 0
        for node in self.weighted:
            if is_lookup(node.op):
                mask |= self._mask(node.inputs[1], self.raw)
            else:
                for ref in node.inputs:
                    mask |= self._mask(ref, self.raw)
        return mask

    def _is_picture(self, ref: Ref) -> bool:
        """Whether a source is floats or bytes, and has four dimensions or is read by a convolution first."""
        if self._dtype(ref) not in _FLOATS:
            return False
        shapes = self.shapes.get(ref[0], ())
        if ref[1] < len(shapes) and len(shapes[ref[1]].dim) == 4:
            return True
        if (
            ref[0] in self.nodes
            and "shape" in self.nodes[ref[0]].attr
            and len(self.nodes[ref[0]].attr["shape"].shape.dim) == 4
        ):
            return True
        read = [n for n in self.weighted if n.op.startswith(("Conv2D", "Conv3D", "DepthwiseConv"))]
        return any(self._mask(n.inputs[0], self.raw) & self.bits[ref] for n in read)

    def _dtype(self, ref: Ref) -> int:
        node = self.nodes[ref[0]]
        for key in ("component_types", "output_types", "Tout", "dtypes"):
            if key in node.attr and ref[1] < len(node.attr[key].list.type):
                return int(node.attr[key].list.type[ref[1]])
        return int(node.attr["dtype"].type if "dtype" in node.attr else tf.float32.as_datatype_enum)

    # Where answers are compared.

    def _comparisons(self) -> Iterator[_Comparison]:
        known = list(self._of_ops())
        meeting = self.meeting
        known += [c for node in meeting for c in self._differences(node)]
        known += [c for node in meeting for c in self._sigmoids(node)]
        yield from known
        decided = self._downstream({c.node.name for c in known})
        # What is combined with an answer before its comparison belongs to the answer; after it, it weights the loss.
        ahead = self._upstream({c.node.name for c in known if c.others})
        for node in meeting:
            if node.name not in ahead:
                for found in self._meetings(node):
                    if not all(ref[0] in decided for ref in found.answers):
                        yield found

    def _of_ops(self) -> Iterator[_Comparison]:
        for node in self.nodes.values():
            if node.op not in _COMPARE or node.name in self.before:
                continue
            sides = _COMPARE[node.op]
            answers, others = [[node.inputs[n] for n in side if n < len(node.inputs)] for side in sides]
            if node.op in _EITHER_WAY and not any(ref[0] in self.deep for ref in answers):
                answers, others = others, answers
            mask = 0
            for ref in others:
                mask |= self._met(ref)
            yield _Comparison(node, tuple(answers), mask, node.op in _CLASSES)

    def _of_losses(self) -> Set[str]:
        """The nodes of losses: those that gradients are taken of, or without gradients, those that end in a scalar."""
        ends = differentiated(self.backward, self.nodes)
        if not ends:
            ends = {
                name
                for name in self.deep
                if all(is_effect(self.nodes[taker].op) for taker in self.takers.get(name, ())) and self._is_number(name)
            }
        return ends | self._upstream(ends)

    def _is_number(self, name: str) -> bool:
        shapes = self.shapes.get(name, ())
        return len(shapes) == 1 and not shapes[0].unknown_rank and not shapes[0].dim

    def _sides(self, node: Node, found: Callable[[Ref], int]) -> Iterator[Tuple[Ref, int]]:
        """(an answer, the sources of the other input) for the inputs of a binary op."""
        for answer in node.inputs[:2]:
            for other in node.inputs[:2]:
                if answer[0] in self.deep and other[0] not in self.deep and found(other):
                    yield answer, found(other)

    def _differences(self, node: Node) -> Iterator[_Comparison]:
        negated = node.op in _SUMS and any(
            self.nodes[ref[0]].op == "Neg" for ref in node.inputs[:2] if ref[0] in self.nodes
        )
        if node.op not in _DIFFERENCES and not negated:
            return
        for answer, others in self._sides(node, self._met):
            if node.op == "SquaredDifference" or self._has_size_taken(node):
                yield _Comparison(node, (answer,), others)

    def _has_size_taken(self, node: Node) -> bool:
        def takers(name: str) -> List[Node]:
            return [self.nodes[taker] for taker in self.takers.get(name, ())]

        def passes(node: Node) -> bool:
            scales = node.op in _SCALINGS and sum(ref[0] in self.deep for ref in node.inputs) == 1
            return scales or bool(_VIEWS.match(node.op))

        def takes_size(node: Node) -> bool:
            squares = node.op == "Mul" and len({ref[0] for ref in node.inputs}) == 1
            return squares or node.op in _MAGNITUDES

        reached = within([node.name], lambda name: [one.name for one in takers(name) if passes(one)], 20)
        return any(takes_size(taker) for name in reached for taker in takers(name))

    def _sigmoids(self, node: Node) -> Iterator[_Comparison]:
        """max(x, 0) - x * label + …, as TensorFlow writes the cross entropy of a sigmoid."""
        for taker in map(self.nodes.__getitem__, self.takers.get(node.name, ()) if node.op == "Mul" else ()):
            others = [ref for ref in taker.inputs if ref[0] != node.name]
            if taker.op == "Sub" and any(self.nodes[ref[0]].op in _SIGMOID for ref in others if ref[0] in self.nodes):
                for answer, mask in self._sides(node, self._met):
                    yield _Comparison(node, (answer,), mask)
                return

    def _meetings(self, node: Node) -> Iterator[_Comparison]:
        if node.op in SELECTS:
            deep = [ref for ref in node.inputs if ref[0] in self.deep]
            mask = 0
            for ref in node.inputs:
                mask |= 0 if ref[0] in self.deep else self._mask(ref, self.free)
            if deep and mask:
                yield _Comparison(node, tuple(deep), mask)
        elif _MEETINGS.match(node.op):
            if is_lookup(node.op) and node.inputs[0][0] not in self.deep:
                return
            for answer, others in self._sides(node, lambda ref: self._mask(ref, self.raw)):
                yield _Comparison(node, (answer,), others)


def _values(node: Node) -> Sequence[Ref]:
    """The inputs that the values of a node are computed from, without sizes and predicates."""
    if node.op in _SIZES or is_random(node.op):
        return ()
    if node.op in SWITCHES or node.op in _SIZED:
        return node.inputs[:1]
    return node.inputs[1:] if node.op == "Fill" else node.inputs[-1:] if node.op in _STACKS else node.inputs


def _named(node: Node) -> str:
    return f"{node.name} ({node.op})"
