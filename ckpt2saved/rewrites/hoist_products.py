"""Products of a recurrent layer's inputs are computed for all steps at once, before the loop.

Appleyard et al., "Optimizing Performance of Recurrent Neural Networks on GPUs" (2016), section 3.1.3: the inputs of a
layer are known before its loop begins, so that the product with them needs no loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple

from ckpt2saved.errors.problem import Note, listed
from ckpt2saved.graph.graph import Graph, Node
from ckpt2saved.graph.names import Ref
from ckpt2saved.graph.ops import IDENTITIES, PARTS, READS_VARIABLE
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.rewrites.analyses.loops import (
    Step,
    entered,
    is_of_recurrent_layer,
    is_read,
    step_of,
    takes_inputs,
    unchanged,
)
from ckpt2saved.rewrites.context import Context
from ckpt2saved.rewrites.found import Edit, Found
from ckpt2saved.rewrites.insertion import insert, lead_in
from ckpt2saved.rewrites.rewrite import Rewrite

_FIXED = (*PARTS, *IDENTITIES, READS_VARIABLE, "Const")
FLOAT = tf.float32.as_datatype_enum
PRODUCTS_IN_LOOP = "products-in-loop"


@dataclass(frozen=True)
class ProductsHoisted(Edit):
    """A loop, or the kernel of an unrolled layer, whose products are computed before the steps."""

    is_unrolled: bool = False


@dataclass(frozen=True)
class _Product:
    """A product of weights with a step of a sequence, or with that and a state that are joined as columns."""

    node: Node  # the MatMul
    step: Step
    state: Optional[Ref]  # inside; None where the step alone is multiplied
    weights: Ref  # outside


class Stays(Exception):
    """Why a product stays in its loop, or in its step."""


def parts_of(graph: Graph, node: Node) -> Tuple[Ref, Optional[Ref]]:
    """The first and the second of the tensors that a MatMul multiplies, joined as columns; raises Stays for others.

    The second is None where the MatMul multiplies a single tensor.
    """
    if node.attr["transpose_a"].b or node.attr["transpose_b"].b:
        raise Stays("the product transposes a matrix")
    left = unchanged(graph, node.inputs[0])
    joined = graph[left[0]]
    if joined.op != "ConcatV2":
        return left, None
    if len(joined.inputs) != 3:
        raise Stays(f"{len(joined.inputs) - 1} tensors are joined before the product, not input and state")
    axis = graph.constant(joined.inputs[2])
    if axis is None or int(axis) not in (1, -1):
        raise Stays("input and state are not joined as columns")
    return joined.inputs[0], joined.inputs[1]


def of_other_type(node: Node) -> str:
    """Why a MatMul that is not of float32 stays."""
    return f"they are of {tf.as_dtype(node.attr['T'].type).name}, and only those of float32 are taken out"


class HoistProducts(Rewrite):
    """Takes the products with the inputs of recurrent layers out of their loops.

    It covers the cells that multiply the input, or the concatenation of input and state, by a kernel: those of
    tf.nn.dynamic_rnn and of Keras. A batch of one line then reads half of the weights or less at each step. A note
    says why a recurrent layer stays as it is.
    """

    name = "hoist products"

    def __call__(self, graph: Graph, context: Context) -> Found:
        within, hoist = graph.between(context.outputs, context.inputs), _Hoist(graph)
        loops = dict(graph.control.in_loops)
        known = {frame for frames in context.original.control.in_loops.values() for frame in frames}
        products = [graph[name] for name in loops if name in within and graph[name].op == "MatMul"]
        frames: List[str] = []
        left: Dict[str, List[Node]] = {}
        for node in products:
            if len(loops[node.name]) != 1:
                continue
            if node.attr["T"].type == FLOAT and hoist.hoist(node):
                frames += loops[node.name]
            elif loops[node.name][0] in known:  # not of a decoder that was added
                left.setdefault(loops[node.name][0], []).append(node)
        reasons: Dict[str, List[str]] = {}
        for frame, nodes in left.items():
            if frame not in frames and is_of_recurrent_layer(graph, nodes):
                why = next((hoist.why_left(node) for node in nodes if takes_inputs(graph, node)), None)
                if why is not None:  # otherwise its products were computed before the loop already
                    reasons.setdefault(why, []).append(frame)
        edits = [_edit(frame, frames.count(frame)) for frame in dict.fromkeys(frames)]
        return Found(tuple(edits), notes=tuple(_note(names, why) for why, names in reasons.items()))


def _edit(frame: str, count: int) -> Edit:
    return ProductsHoisted(frame, "recurrent", f"{frame}: {count} products before the loop", is_shown=False)


def _note(frames: Sequence[str], why: str) -> Note:
    return note_on_products(frames, "in its loop", why)


def note_on_products(where: Sequence[str], place: str, why: str) -> Note:
    """The note on recurrent layers that stay as they are; `place` says where their products are computed."""
    found = f"the products of a recurrent layer with its inputs are computed {place}, as in the training"
    return Note(PRODUCTS_IN_LOOP, listed(where, 3), found, reason=why)


class _Hoist:
    """Edits the products of one graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.copies: Dict[str, str] = {}  # node in a loop -> its copy outside
        self.enters: Dict[Any, Ref] = {}  # (tensor outside, frame) -> the same inside

    def hoist(self, node: Node) -> bool:
        """Compute a MatMul in a loop, or a part of it, outside; returns False if the graph stays as it is."""
        try:
            product = self.product(node)
        except Stays:
            return self.take_out_weights(node)
        if product.state is not None:
            self.split(product, product.state)
        else:
            self.take_out(product)
        return True

    def why_left(self, node: Node) -> str:
        """Why a MatMul that was not edited stays in its loop."""
        if node.attr["T"].type != FLOAT:
            return of_other_type(node)
        try:
            self.product(node)
        except Stays as stays:
            return str(stays)
        return "of another form"

    def product(self, node: Node) -> _Product:
        """A MatMul that has a step of a sequence in its first input; raises Stays for others."""
        graph = self.graph
        left, state = parts_of(graph, node)
        step = step_of(graph, left)
        if step is None and state is not None and step_of(graph, state):
            raise Stays("the state stands before the input, not after it")
        if step is None and is_read(graph[unchanged(graph, left)[0]]):
            raise Stays("the loop reads its inputs in another order than from first to last")
        if step is None:
            raise Stays("the loop changes its inputs before the product")
        if state is not None and step_of(graph, state):
            raise Stays("two inputs are joined, not input and state")
        weights = self.outside(node.inputs[1])
        if weights is None:
            raise Stays("the kernel changes inside the loop")
        return _Product(node, step, state, weights)

    def split(self, product: _Product, state: Ref) -> None:
        """Multiply only the state in the loop, and add the product with the step."""
        (ahead, kernel) = self.before(product, split_kernel, {"weights": (product.weights, tf.float32, [None, None])})
        factors = state, self.inside(kernel, product.step.enter, FLOAT)
        multiply_state(self.graph, product.node, factors, self.step(product, ahead))

    def take_out(self, product: _Product) -> None:
        """Compute a product, and the addition of a bias, outside."""
        graph, end = self.graph, biased(self.graph, product.node)
        sources = {"weights": (product.weights, tf.float32, [None, None])}
        bias = self.outside(end.inputs[1]) if end is not product.node else None
        if bias is None:
            end = product.node
        else:
            sources["bias"] = (bias, tf.float32, [None])
        (ahead,) = self.before(product, product_of_steps, sources)
        graph.redirect({(end.name, 0): self.step(product, ahead)})

    def take_out_weights(self, node: Node) -> bool:
        """Compute the part of weights that a MatMul multiplies outside, once; returns False if it can't be."""
        weights = node.inputs[1]
        if self.graph[unchanged(self.graph, weights)[0]].op not in PARTS:
            return False
        enter = next((e for e in map(self.enter_of, node.inputs[::-1]) if e is not None), None)
        outside = self.outside(weights)
        if enter is None or outside is None:
            return False
        node.inputs[1] = self.inside(outside, enter, FLOAT)
        self.graph.changed()
        return True

    def enter_of(self, ref: Ref) -> Optional[Node]:
        """An Enter that a tensor in a loop is computed from, along its first inputs that come from outside."""
        for _ in range(20):
            node = self.graph[ref[0]]
            enter = entered(self.graph, ref)
            if enter is not None:
                return enter
            sources = [source for source in node.inputs if self.graph[source[0]].op != "Const"]
            if node.op not in _FIXED or not sources:
                return None
            ref = sources[0]
        return None

    def outside(self, ref: Ref) -> Optional[Ref]:
        """A tensor outside of the loop with the value that one inside has at every step."""
        enter = entered(self.graph, ref)
        if enter is not None:
            return enter.inputs[0]
        node = self.graph[ref[0]]
        if node.op not in _FIXED:
            return None
        if node.name not in self.copies:
            inputs = [self.outside(source) for source in node.inputs]
            sources = [source for source in inputs if source is not None]
            if len(sources) < len(inputs):
                return None
            definition = tf.NodeDef()
            definition.CopyFrom(node.definition)
            definition.name = self.graph.free_name(node.name + "/once")
            self.copies[node.name] = self.graph.adopt(definition, sources, ()).name
        return self.copies[node.name], ref[1]

    def before(self, product: _Product, build: Any, sources: Dict[str, Any]) -> List[Ref]:
        """The tensors that `build` makes, outside of the loop, of the sequence and `sources`."""
        given = {"sequence": (product.step.sequence, tf.float32, [None, None, None]), **sources}
        return insert(self.graph, product.node.name + "/before_the_loop", given, build)

    def inside(self, ref: Ref, like: Node, dtype: int) -> Ref:
        """The tensor in the loop that equals `ref`, from outside, at every step; `like` is an Enter of the loop."""
        key = (ref, like.frame)
        if key not in self.enters:
            self.enters[key] = lead_in(self.graph, ref, like, dtype)
        return self.enters[key]

    def step(self, product: _Product, ahead: Ref) -> Ref:
        """The product of one step, taken in the loop from `ahead`, whose first axis are the steps."""
        graph, integer = self.graph, tf.int32.as_datatype_enum
        index, name = product.step.index, product.node.name
        axis = graph.add(name + "/first_axis", "Const", (), [index[0]])
        axis.become_constant(0, integer)
        inputs = [self.inside(ahead, product.step.enter, FLOAT), index, (axis.name, 0)]
        return graph.add(name + "/step", "GatherV2", inputs, Tparams=FLOAT, Tindices=integer, Taxis=integer).name, 0


def multiply_state(graph: Graph, node: Node, factors: Tuple[Ref, Ref], ahead: Ref) -> None:
    """Let a MatMul multiply the `factors` alone, a state and its kernel, and add the product with the inputs.

    A bias that follows stays, as TensorFlow computes it and the product with one kernel.
    """
    end = biased(graph, node)
    node.inputs = list(factors)
    before = tf.NodeDef()
    before.CopyFrom(end.definition)
    before.name = graph.free_name(end.name + "/of_state")
    product = graph.adopt(before, end.inputs, end.controls)
    end.become("Add", [(product.name, 0), ahead], T=FLOAT)


def biased(graph: Graph, node: Node) -> Node:
    """The BiasAdd behind a MatMul; the MatMul itself where something else takes its product."""
    user = graph.only_consumer(node.name)
    return user if user is not None and user.op == "BiasAdd" else node


def split_kernel(sequence: tf.Tensor, weights: tf.Tensor) -> Sequence[tf.Tensor]:
    """The product with the rows of the weights that belong to the inputs, and the other rows."""
    depth = tf.shape(sequence)[2]
    return [*product_of_steps(sequence, weights[:depth]), tf.identity(weights[depth:])]


def product_of_steps(sequence: tf.Tensor, weights: tf.Tensor, bias: Optional[tf.Tensor] = None) -> Sequence[tf.Tensor]:
    """The product of a sequence [steps, batch, depth] and weights [depth, width], plus a bias [width]."""
    steps, batch, depth = tf.unstack(tf.shape(sequence))
    # Of matrices, not of a sequence: TensorFlow would multiply step by step.
    flat = tf.matmul(tf.reshape(sequence, tf.stack([steps * batch, depth])), weights)
    if bias is not None:
        flat = tf.nn.bias_add(flat, bias)
    return [tf.reshape(flat, tf.stack([steps, batch, tf.shape(weights)[1]]))]
