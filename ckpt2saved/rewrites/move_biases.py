"""The bias of a recurrent layer is added to the product with the state, not to the sum of both products.

TensorFlow computes a product and a bias that follows it in one op. Its kernel multiplies a single row in half of the
time that MatMul takes, on TensorFlow 2 where oneDNN is off. Keras adds the bias to the sum of the products with the
input and the state, so that nothing is joined.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from ckpt2saved.graph.graph import Graph, Node
from ckpt2saved.graph.names import Ref, full_name
from ckpt2saved.graph.ops import data_format
from ckpt2saved.rewrites.analyses.loops import is_of_recurrent_layer, outer_loops, products_of
from ckpt2saved.rewrites.context import Context
from ckpt2saved.rewrites.found import Edit, Found
from ckpt2saved.rewrites.hoist_products import FLOAT
from ckpt2saved.rewrites.rewrite import Rewrite


@dataclass(frozen=True)
class BiasMoved(Edit):
    """A loop whose biases are added to the products with the state."""


class MoveBiases(Rewrite):
    """Adds the biases in loops of recurrent layers to the products with the state.

    It covers Keras's LSTM, once its products with the inputs are computed before the loop.
    """

    name = "move biases"

    def __call__(self, graph: Graph, context: Context) -> Found:
        within = graph.between(context.outputs, context.inputs)
        edits = []
        for frame, nodes in outer_loops(graph, within).items():
            products = products_of(nodes)
            moved = is_of_recurrent_layer(graph, products) and [_move(graph, context, node) for node in products]
            if moved and any(moved):
                edits.append(BiasMoved(frame, "recurrent", f"{frame}: biases at products", is_shown=False))
        return Found(tuple(edits))


def _move(graph: Graph, context: Context, product: Node) -> bool:
    """Add the bias of a sum to this product, which is a part of the sum; returns False if the graph stays as it is."""
    total = graph.only_consumer(product.name)
    if total is None or total.op not in ("Add", "AddV2") or product.attr["T"].type != FLOAT:
        return False
    biased = graph.only_consumer(total.name)
    others = [ref for ref in total.inputs if ref != (product.name, 0)]
    if biased is None or biased.op != "BiasAdd" or biased.inputs[0] != (total.name, 0) or len(others) != 1:
        return False
    if graph[others[0][0]].op == "MatMul" or data_format(biased) == "NCHW":
        return False
    width = _width(context, (product.name, 0))
    if width is None or width != _width(context, biased.inputs[1]):
        return False
    added = graph.add(f"{product.name}/biased", "BiasAdd", [(product.name, 0), biased.inputs[1]], T=FLOAT)
    total.inputs = [(added.name, 0), *others]
    graph.redirect({(biased.name, 0): (total.name, 0)})
    return True


def _width(context: Context, ref: Ref) -> Optional[int]:
    """The number of columns of a tensor of the original graph, as far as TensorFlow knows it."""
    if ref[0] not in context.original:
        return None
    shape = context.imported.get_tensor_by_name(full_name(ref)).shape
    return shape.as_list()[-1] if shape.ndims else None
