"""Products of unrolled recurrent layers: one MatMul for each step, all of them with the same kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Collection, Dict, List, Optional, Sequence, Set

from ckpt2saved.graph.graph import Graph, Node
from ckpt2saved.graph.names import Ref
from ckpt2saved.graph.ops import IDENTITIES, PARTS

_DEEPEST = 10  # ops between a variable and the kernel of a product
_LARGEST = 1000  # bytes of a constant that is compared by its value


def unrolled(graph: Graph, within: Collection[str]) -> List[List[Node]]:
    """The MatMuls outside of loops that have the same kernel, at least two of each; `within` are the nodes searched."""
    kernels = Kernels(graph)
    groups: Dict[Any, List[Node]] = {}
    for name, node in graph.nodes.items():
        if node.op == "MatMul" and name in within and not graph.is_in_loop(name):
            groups.setdefault(kernels.identity(node.inputs[1]), []).append(node)
    return [group for group in groups.values() if len(group) > 1]


class Kernels:
    """Which tensors have the same value: a layer may read a variable, and take parts of it, once for each step."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._known: Dict[str, Any] = {}

    def identity(self, ref: Ref, depth: int = 0) -> Any:
        """What tensors with the same value have in common, as far as it shows within some steps; hashable."""
        name, output = ref
        if name not in self._known:
            self._known[name] = self._made(self._graph[name], depth) if depth < _DEEPEST else name
        return self._known[name], output

    def _made(self, node: Node, depth: int) -> Any:
        variable = self._graph.variable((node.name, 0))
        if variable is not None:
            return "variable", variable
        if node.op in IDENTITIES and not node.controls and node.inputs[0][1] == 0:
            return self.identity(node.inputs[0], depth + 1)[0]
        if node.controls or node.op not in (*PARTS, "Const") or node.definition.ByteSize() > _LARGEST:
            return node.name
        known = [(key, value) for key, value in node.attr.items() if key[0] != "_"]  # the others say where it runs
        attributes = sorted((key, value.SerializeToString(deterministic=True)) for key, value in known)
        return node.op, tuple(self.identity(ref, depth + 1) for ref in node.inputs), tuple(attributes)


@dataclass(frozen=True)
class StepProduct:
    """The product of one step of an unrolled layer."""

    node: Node  # the MatMul
    inputs: Ref  # the inputs of the step
    state: Optional[Ref]  # joined with the inputs as columns; None where the inputs alone are multiplied


def is_chain(graph: Graph, products: Sequence[StepProduct]) -> bool:
    """Whether the products are the steps of one layer: but for the first, each state is made from another product."""
    outputs = {(product.node.name, 0) for product in products}
    return sum(not _reaches(graph, product.state, outputs) for product in products) == 1


def depends_on(graph: Graph, refs: Sequence[Ref], products: Sequence[StepProduct]) -> bool:
    """Whether one of the tensors is computed from one of the products."""
    return not graph.upstream(refs, controls=True).isdisjoint(product.node.name for product in products)


def _reaches(graph: Graph, state: Optional[Ref], outputs: Set[Ref]) -> bool:
    if state is None or state in outputs:
        return state is not None
    return any(not outputs.isdisjoint(graph[name].inputs) for name in graph.upstream([state], outputs))
