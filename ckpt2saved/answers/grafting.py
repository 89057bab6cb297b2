"""Import a rewritten graph into the graph that it was made from, so that one session runs both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, FrozenSet, Mapping, Set

from ckpt2saved.checkpoint.derived import Derived
from ckpt2saved.graph.copying import copied
from ckpt2saved.graph.graph import Graph
from ckpt2saved.graph.names import Ref, full_name, node_name, parsed
from ckpt2saved.graph.ops import READS_VARIABLE, REFERENCE_VARIABLES
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.rewrites.for_serving import ServingRewritten
from ckpt2saved.saved_model.writing import ServingGraph
from ckpt2saved.signature.tensors import Signature

_COPY = "copy"


@dataclass(frozen=True)
class Grafted:
    """A rewritten graph in the graph of a session: nodes that the rewrites changed are copied, the others shared."""

    signatures: Mapping[str, Signature]  # of the rewritten graph, with its own tensor names
    scope: str  # prefix of the copied nodes
    copied: FrozenSet[str]  # nodes of the rewritten graph

    def place(self, tensor: str) -> str:
        """The name that a tensor of the rewritten graph has in the graph of the session."""
        return self.scope + tensor if node_name(tensor) in self.copied else tensor


def graft(graph: tf.Graph, serving: ServingGraph, rewritten: ServingRewritten) -> Grafted:
    """Import into `graph`, which holds `serving`, what differs in `rewritten`, which was made from `serving`.

    Nodes with the same values in both graphs are shared: placeholders, variables and lookup tables among them. A
    variable with a derived value is replaced by the computation of this value from the variables of `graph`, so that a
    session needs no second copy of it.
    """
    found, before = Graph(rewritten.serving.graph_def), Graph(serving.graph_def)
    ends = [spec.tensor for signature in rewritten.serving.signatures.values() for spec in signature.outputs]
    needed = found.between([parsed(tensor) for tensor in ends], ())
    derived = _derived_reads(found, needed, rewritten.weights.derived)
    changed = _changed(found, needed, before, derived)
    for name in changed:
        found[name].controls = [control for control in found[name].controls if control in changed]
    with graph.as_default(), tf.name_scope("rewritten") as scope:
        values = _computed(graph, set(derived.values()), rewritten.weights.derived)
        taken = {ref for name in changed for ref in found[name].inputs if ref[0] not in changed}
        tensors = {
            full_name(ref): values[derived[ref]] if ref in derived else graph.get_tensor_by_name(full_name(ref))
            for ref in taken
        }
        copied(found.part(changed), tensors, (), _COPY)
    return Grafted(rewritten.serving.signatures, f"{scope}{_COPY}/", frozenset(changed))


def _derived_reads(graph: Graph, needed: Set[str], derived: Mapping[str, Derived]) -> Dict[Ref, str]:
    """The tensors whose values are those of variables with derived values -> the variable."""
    found: Dict[Ref, str] = {}
    for name in needed:
        node = graph[name]
        if node.op in REFERENCE_VARIABLES or node.op == READS_VARIABLE:
            variable = graph.variable((name, 0))
            if variable in derived:
                assert variable is not None
                found[name, 0] = variable
    return found


def _changed(graph: Graph, needed: Set[str], before: Graph, derived: Mapping[Ref, str]) -> Set[str]:
    """The nodes in `needed` whose values may differ from those in `before`; of a loop all nodes or none."""
    inside = graph.control.in_loops
    changed = {name for name in needed if name not in before or not _is_same(graph[name], before[name])}
    changed |= graph.downstream(derived)
    more = set(changed)
    while more:
        changed |= more | graph.behind(more)
        loops = {inside[name][0] for name in changed if name in inside}
        more = {name for name in needed if name in inside and inside[name][0] in loops} - changed
    return (changed & needed) - {name for name, _ in derived}


def _is_same(one: Any, other: Any) -> bool:
    """Whether two nodes have the same op, inputs and attributes."""
    return (one.op, one.inputs, one.controls) == (other.op, other.inputs, other.controls) and (
        one.definition == other.definition or _attributes(one) == _attributes(other)
    )


def _attributes(node: Any) -> Dict[str, bytes]:
    """The attributes of a node; empty ones, which only reading added, are left out."""
    found = {key: value.SerializeToString(deterministic=True) for key, value in node.attr.items()}
    return {key: value for key, value in found.items() if value}


def _computed(graph: tf.Graph, names: Set[str], derived: Mapping[str, Derived]) -> Dict[str, tf.Tensor]:
    """Add the computations of derived values to the default graph; returns the tensors by variable."""
    sources = {source for name in names for source in derived[name].variables.values()}
    values = {source: _value(graph, source) for source in sorted(sources)}
    return {name: derived[name].computed(values) for name in sorted(names)}


def _value(graph: tf.Graph, variable: str) -> tf.Tensor:
    """The value of the variable that a node holds."""
    node = graph.get_operation_by_name(variable)
    if node.type in REFERENCE_VARIABLES:
        return tf.identity(node.outputs[0])
    return tf.raw_ops.ReadVariableOp(resource=node.outputs[0], dtype=node.get_attr("dtype"))
