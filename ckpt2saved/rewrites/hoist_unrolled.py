"""Products of an unrolled recurrent layer's inputs are computed for all steps at once, before the first step.

Such a layer has a copy of its cell for each step: tf.nn.static_rnn and Keras with `unroll=True` make it.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from ckpt2saved.graph.graph import Graph, Node
from ckpt2saved.graph.names import Ref, full_name
from ckpt2saved.graph.ops import PARTS, SWITCHES
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.rewrites.analyses.loops import unchanged
from ckpt2saved.rewrites.analyses.unrolled import Kernels, StepProduct, depends_on, is_chain, unrolled
from ckpt2saved.rewrites.context import Context
from ckpt2saved.rewrites.found import Found
from ckpt2saved.rewrites.hoist_products import (
    FLOAT,
    ProductsHoisted,
    Stays,
    biased,
    multiply_state,
    note_on_products,
    of_other_type,
    parts_of,
    product_of_steps,
    split_kernel,
)
from ckpt2saved.rewrites.insertion import insert
from ckpt2saved.rewrites.rewrite import Rewrite


class HoistUnrolled(Rewrite):
    """Takes the products with the inputs of unrolled recurrent layers out of their steps.

    It covers the cells that HoistProducts does. A note says why a layer stays as it is.
    """

    name = "hoist products of unrolled layers"

    def __call__(self, graph: Graph, context: Context) -> Found:
        counts: Dict[str, int] = {}
        left: Dict[str, List[str]] = {}
        for nodes in unrolled(graph, graph.between(context.outputs, context.inputs)):
            kernel = _kernel(graph, nodes[0])
            try:
                hoisted = _hoisted(graph, context, nodes)
            except Stays as stays:
                left.setdefault(str(stays), []).append(kernel)
                continue
            if hoisted:
                counts[kernel] = counts.get(kernel, 0) + len(nodes)
        notes = [note_on_products(kernels, "at each step", why) for why, kernels in left.items()]
        return Found(tuple(_edit(kernel, count) for kernel, count in counts.items()), notes=tuple(notes))


def _edit(kernel: str, count: int) -> ProductsHoisted:
    text = f"{kernel}: {count} products before the steps"
    return ProductsHoisted(kernel, "recurrent", text, is_shown=False, is_unrolled=True)


def _kernel(graph: Graph, node: Node) -> str:
    """The variable whose value, or a part of it, a MatMul multiplies; the node of the kernel where that is none."""
    ref = node.inputs[1]
    while graph[ref[0]].op in PARTS and graph.variable(ref) is None:
        sources = [source for source in graph[ref[0]].inputs if graph[source[0]].op != "Const"]
        if not sources:
            break
        ref = sources[0]
    return graph.variable(ref) or ref[0]


def _hoisted(graph: Graph, context: Context, nodes: Sequence[Node]) -> bool:
    """Compute products with one kernel before the steps, if they are of an unrolled layer; raises Stays."""
    products, why = [], ""
    try:
        products = _products(graph, nodes)
    except Stays as stays:
        why = str(stays)
    if products and all(product.state is None for product in products):
        if _are_of_one_sequence(graph, products):
            _take_out(graph, products)
            return True
        return _share_kernel(graph, products)
    states = [product.state for product in products if product.state is not None]
    if products and len(states) == len(products):
        if not depends_on(graph, [nodes[0].inputs[1], *(product.inputs for product in products)], products):
            if not is_chain(graph, products) or not _have_one_depth(graph, context, products):
                return False
            _split(graph, products, states)
            return True
        if not depends_on(graph, states, products):
            why = "the state stands before the input, not after it"
    if why and all(_reads_step(graph, node) for node in nodes):
        if is_chain(graph, [StepProduct(node, node.inputs[0], node.inputs[0]) for node in nodes]):
            raise Stays(why)
    return False


def _products(graph: Graph, nodes: Sequence[Node]) -> List[StepProduct]:
    """What MatMuls multiply; raises Stays where one of them can't be taken out."""
    for node in nodes:
        if graph.control.branches((node.name, 0)):
            raise Stays("a condition decides which steps are computed")
        if node.attr["T"].type != FLOAT:
            raise Stays(of_other_type(node))
    return [StepProduct(node, *parts_of(graph, node)) for node in nodes]


def _reads_step(graph: Graph, node: Node) -> bool:
    """Whether a MatMul multiplies an entry of a sequence, alone or joined with others."""
    joined = graph[unchanged(graph, node.inputs[0])[0]]
    return any(_sequence(graph, ref) is not None for ref in (node.inputs[0], *joined.inputs))


def _sequence(graph: Graph, ref: Ref) -> Optional[str]:
    """The Unpack that a tensor is an output of, also on a branch; None of other tensors."""
    name = graph.root(ref)[0]
    while graph[name].op in SWITCHES:
        name = graph.root(graph[name].inputs[0])[0]
    return name if graph[name].op == "Unpack" else None


def _are_of_one_sequence(graph: Graph, products: Sequence[StepProduct]) -> bool:
    """Whether the inputs are entries of the same sequence, which has one batch size and one depth."""
    return len({_sequence(graph, product.inputs) for product in products}) == 1 and all(
        _sequence(graph, product.inputs) for product in products
    )


def _have_one_depth(graph: Graph, context: Context, products: Sequence[StepProduct]) -> bool:
    """Whether it is known that the inputs of all steps have the same number of columns."""
    if _are_of_one_sequence(graph, products):
        return True
    if any(product.inputs[0] not in context.original for product in products):
        return False
    shapes = [context.imported.get_tensor_by_name(full_name(product.inputs)).shape for product in products]
    return all(shape.ndims == 2 for shape in shapes) and len({shape.as_list()[1] for shape in shapes} | {None}) == 2


def _split(graph: Graph, products: Sequence[StepProduct], states: Sequence[Ref]) -> None:
    """Multiply only the states at each step, and add the products with the inputs."""

    def build(weights: Any, **inputs: Any) -> Sequence[Any]:
        ahead, kernel = split_kernel(tf.stack(list(inputs.values())), weights)
        return [kernel, *tf.unstack(ahead, len(inputs))]

    kernel, *steps = _before(graph, products, build)
    for product, state, step in zip(products, states, steps):
        multiply_state(graph, product.node, (state, kernel), step)


def _take_out(graph: Graph, products: Sequence[StepProduct]) -> None:
    """Compute the products, and the addition of a bias, before the steps."""
    ends = [biased(graph, product.node) for product in products]
    kernels = Kernels(graph)
    has_bias = all(end is not product.node for end, product in zip(ends, products))
    if not has_bias or len({kernels.identity(end.inputs[1]) for end in ends}) > 1:
        ends = [product.node for product in products]
    bias = {"bias": (ends[0].inputs[1], tf.float32, [None])} if ends[0].op == "BiasAdd" else {}

    def build(weights: Any, bias: Any = None, **inputs: Any) -> Sequence[Any]:
        (ahead,) = product_of_steps(tf.stack(list(inputs.values())), weights, bias)
        return tf.unstack(ahead, len(inputs))  # type: ignore[no-any-return]

    for end, step in zip(ends, _before(graph, products, build, bias)):
        end.become("Identity", [step], T=FLOAT)
    graph.changed()


def _share_kernel(graph: Graph, products: Sequence[StepProduct]) -> bool:
    """Take the part of a kernel that multiplies the states once, and not at each step; returns False for others."""
    shared = products[0].node.inputs[1]
    if graph[unchanged(graph, shared)[0]].op not in PARTS or not is_chain(
        graph, [StepProduct(product.node, product.inputs, product.inputs) for product in products]
    ):
        return False
    for product in products:
        product.node.inputs[1] = shared
    graph.changed()
    return True


def _before(
    graph: Graph,
    products: Sequence[StepProduct],
    build: Callable[..., Sequence[Any]],
    more: Mapping[str, Tuple[Ref, Any, Any]] = {},
) -> List[Ref]:
    """The tensors that `build` makes of the kernel, of `more`, and of the inputs of all steps in their order."""
    node = products[0].node
    given = {f"inputs_{number}": (product.inputs, tf.float32, [None, None]) for number, product in enumerate(products)}
    sources = {"weights": (node.inputs[1], tf.float32, [None, None]), **more, **given}
    return insert(graph, f"{node.name}/before_the_steps", sources, build)
