"""Products of a state, or of an input, with parts of one kernel become one product with all of the kernel.

The LSTM and GRU of TensorFlow 1's Keras multiply the state by a part of the kernel for each gate. One product of all
gates starts its threads once, and reads the state once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Collection, Dict, List, Optional, Sequence, Tuple

from ckpt2saved.graph.graph import Graph, Node
from ckpt2saved.graph.names import Ref
from ckpt2saved.graph.ops import data_format
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.rewrites.analyses.cuts import Cut, cut_of, joined
from ckpt2saved.rewrites.analyses.loops import is_of_recurrent_layer, outer_loops, products_of, step_of, unchanged
from ckpt2saved.rewrites.analyses.unrolled import StepProduct, is_chain, unrolled
from ckpt2saved.rewrites.context import Context
from ckpt2saved.rewrites.found import Edit, Found
from ckpt2saved.rewrites.hoist_products import FLOAT
from ckpt2saved.rewrites.insertion import insert, lead_in
from ckpt2saved.rewrites.rewrite import Rewrite

_TRANSPOSES = ("transpose_a", "transpose_b")


@dataclass(frozen=True)
class ProductsMerged(Edit):
    """A loop, or unrolled layers, in which several products are computed as one."""


@dataclass(frozen=True)
class _Gates:
    """Products of the same matrix with the parts of a kernel, in the order of the parts."""

    factor: Ref
    kernel: Cut
    parts: Tuple[Node, ...]  # what makes the part of each gate: the MatMul, or the BiasAdd behind it
    bias: Optional[Cut] = None

    @property
    def name(self) -> str:
        """What the names of new nodes begin with."""
        return f"{self.parts[0].name}/merged"


@dataclass(frozen=True)
class _Sum:
    """What is computed once: gates alone, or the sum of two of them."""

    terms: Tuple[_Gates, ...]
    parts: Tuple[Node, ...]  # what makes the part of each gate


class MergeProducts(Rewrite):
    """Computes the gates of a recurrent layer with one product of its input, and one of its state.

    It covers LSTM and GRU of Keras on TensorFlow 1, as loops and unrolled. A bias that is added to the product with the
    input, before both are added, is added to that with the state: TensorFlow makes one op of both.
    """

    name = "merge products"

    def __call__(self, graph: Graph, context: Context) -> Found:
        edits, places = [], {}
        for name, products in _layers(graph, graph.between(context.outputs, context.inputs)).items():
            gates = _gates(graph, context, products)
            for one in _sums(graph, gates):
                places.update(_computed(graph, one))
            if gates:
                text = f"{name}: {sum(len(one.parts) for one in gates)} products as {len(gates)}"
                edits.append(ProductsMerged(name, "recurrent", text, is_shown=False))
        graph.redirect(places)
        return Found(tuple(edits))


def _layers(graph: Graph, within: Collection[str]) -> Dict[str, List[Node]]:
    """The MatMuls of recurrent layers: those of each loop, and those of all unrolled layers."""
    loops = {frame: products_of(nodes) for frame, nodes in outer_loops(graph, within).items()}
    found = {frame: products for frame, products in loops.items() if is_of_recurrent_layer(graph, products)}
    steps = unrolled(graph, within)
    if any(is_chain(graph, [StepProduct(node, node.inputs[0], node.inputs[0]) for node in nodes]) for nodes in steps):
        found["unrolled layers"] = [node for nodes in steps for node in nodes]
    return found


def _gates(graph: Graph, context: Context, products: Sequence[Node]) -> List[_Gates]:
    """The products that can be computed together, with the bias that follows each.

    A state is multiplied by all of its kernel or as before: a GRU multiplies it by a part once it is reset.
    """
    groups: Dict[Any, List[Tuple[Cut, Node]]] = {}
    for node in products:
        transposes = any(key in node.attr and node.attr[key].b for key in _TRANSPOSES)
        kernel = cut_of(graph, context, node.inputs[1])
        if kernel is not None and node.attr["T"].type == FLOAT and not transposes:
            groups.setdefault((unchanged(graph, node.inputs[0]), kernel.whole), []).append((kernel, node))
    found = []
    for (factor, _), group in groups.items():
        group.sort(key=lambda pair: pair[0].columns)
        kernel = joined([part for part, _ in group])
        if kernel is not None and len(group) > 1 and (kernel.is_whole or _is_input(graph, factor)):
            found.append(_with_bias(graph, context, _Gates(factor, kernel, tuple(node for _, node in group))))
    return found


def _with_bias(graph: Graph, context: Context, gates: _Gates) -> _Gates:
    """The gates with their biases, where these are the parts of one bias."""
    users = [graph.only_consumer(node.name) for node in gates.parts]
    added = [user for user in users if user is not None and user.op == "BiasAdd" and data_format(user) != "NCHW"]
    parts = [cut for cut in (cut_of(graph, context, user.inputs[1]) for user in added) if cut is not None]
    bias = joined(parts) if len(parts) == len(users) else None
    return gates if bias is None else replace(gates, parts=tuple(added), bias=bias)


def _is_input(graph: Graph, ref: Ref) -> bool:
    """Whether a tensor is a step of a sequence, in a loop or of an unrolled layer."""
    return step_of(graph, ref) is not None or graph[ref[0]].op == "Unpack"


def _sums(graph: Graph, found: Sequence[_Gates]) -> List[_Sum]:
    """The gates; two of them together where each part of one is only added to the same part of the other."""
    sums: Dict[Any, _Sum] = {}
    for gates in found:
        users = [graph.only_consumer(node.name) for node in gates.parts]
        adds = tuple(user for user in users if user is not None and user.op in ("Add", "AddV2"))
        names = tuple(add.name for add in adds) if len(set(adds)) == len(users) else gates
        other = sums.get(names)
        if other is None or other.terms[0].kernel.width != gates.kernel.width:
            sums[gates if other else names] = _Sum((gates,), gates.parts)
        else:
            sums[names] = _Sum((*other.terms, gates), adds)
    return list(sums.values())


def _computed(graph: Graph, found: _Sum) -> Dict[Ref, Ref]:
    """Compute gates with one product each; returns what takes the place of the parts."""
    terms = list(found.terms)
    if len(terms) > 1:
        terms.sort(key=lambda gates: _is_input(graph, gates.factor))
        if terms[0].bias is None:
            terms = [replace(terms[0], bias=terms[1].bias), replace(terms[1], bias=None)]
    totals = [_total(graph, gates) for gates in terms]
    total = totals[0]
    if len(totals) > 1:
        total = graph.add(f"{terms[0].name}/sum", "Add", totals, T=FLOAT).name, 0
    step = step_of(graph, terms[0].factor)  # the product may leave the loop; the number of the step stays
    anchor = terms[0].factor if step is None else step.index
    axis = graph.add(f"{terms[0].name}/axis", "Const", (), [anchor[0]])
    axis.become_constant(1, tf.int32.as_datatype_enum)
    split = graph.add(f"{terms[0].name}/gates", "Split", [(axis.name, 0), total], T=FLOAT)
    split.attr["num_split"].i = len(found.parts)
    return {(node.name, 0): (split.name, number) for number, node in enumerate(found.parts)}


def _total(graph: Graph, gates: _Gates) -> Ref:
    """The product for all gates, and the bias."""
    product = graph.add(gates.name, "MatMul", [gates.factor, _taken(graph, gates.kernel)], T=FLOAT)
    for key in _TRANSPOSES:
        product.attr[key].b = False
    ref = product.name, 0
    if gates.bias is not None:
        ref = graph.add(f"{gates.name}/biased", "BiasAdd", [ref, _taken(graph, gates.bias)], T=FLOAT).name, 0
    return ref


def _taken(graph: Graph, cut: Cut) -> Ref:
    """The tensor that a part is, in the loop."""
    ref, (begin, end, _) = cut.ref, cut.columns
    if not cut.is_whole:
        given = {"whole": (ref, tf.float32, None)}
        (ref,) = insert(graph, f"{ref[0]}/part", given, lambda whole: [whole[..., begin:end]])
    return ref if cut.enter is None else lead_in(graph, ref, cut.enter, FLOAT)
