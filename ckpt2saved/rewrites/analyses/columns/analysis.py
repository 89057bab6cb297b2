"""Follows the columns of a padded batch's pictures through a graph."""

from __future__ import annotations

from typing import Any, List, Mapping, Optional, Sequence

from ckpt2saved.graph.graph import Graph, Node
from ckpt2saved.graph.names import Ref
from ckpt2saved.graph.ops import ITERATIONS, MERGES
from ckpt2saved.graph.traversal import in_order
from ckpt2saved.rewrites.analyses.axes import Axes, Unknown
from ckpt2saved.rewrites.analyses.columns.evaluation import evaluate
from ckpt2saved.rewrites.analyses.columns.values import Columns, NotYet, Step, Unprovable, Value

_ROUNDS = 10  # the variables of a loop settle in two or three


class ColumnAnalysis:
    """Follows the columns of the pictures to some outputs."""

    def __init__(self, graph: Graph, imported: Any, multiple: int = 1, fixed: Optional[int] = None) -> None:
        """`imported` is the graph as TensorFlow's own, with the width of the pictures left open.

        `multiple` divides the widths of all pictures; `fixed` is their width where the graph takes no other.
        """
        self._graph = graph
        self._imported = imported
        self._multiple = multiple
        self._fixed = fixed

    def follow(self, starts: Mapping[Ref, Value], outputs: Sequence[Ref]) -> Columns:
        """What is known of the tensors between those that are given and the outputs."""
        names = self._graph.upstream(outputs, set(starts))
        sources = {name: self._sources(name, starts) for name in self._graph.nodes if name in names}
        order = list(in_order(sources))
        found = Columns(values=dict(starts))
        for _ in range(_ROUNDS):
            before = found
            found = Columns(values=dict(before.values), losses=dict(before.losses))
            for name in order:
                self._visit(self._graph[name], found, starts)
            if found.values == before.values:
                break
        return found

    def static(self, ref: Ref) -> Optional[Axes]:
        """The axes of a tensor as TensorFlow's shape functions find them; None for an unknown rank."""
        shape = self._imported.get_operation_by_name(ref[0]).outputs[ref[1]].shape
        if shape.ndims is None:
            return None
        sizes = enumerate(shape.as_list())
        return tuple((Unknown(ref[0], axis),) if size is None else (size,) for axis, size in sizes)

    def _sources(self, name: str, given: Mapping[Ref, Value]) -> List[str]:
        """What must be known before a node: not what the iteration before left."""
        refs = [ref for ref in self._graph[name].inputs if ref not in given]
        return [ref[0] for ref in refs if self._graph[ref[0]].op not in ITERATIONS]

    def _visit(self, node: Node, found: Columns, starts: Mapping[Ref, Value]) -> None:
        count = len(self._imported.get_operation_by_name(node.name).outputs)
        made = [(node.name, number) for number in range(count) if (node.name, number) not in starts]
        refs = [ref for ref in node.inputs if ref in found.values]
        if len(refs) < len(node.inputs) and (node.op not in MERGES or not refs):
            return
        step = Step(
            graph=self._graph,
            node=node,
            inputs=[found.values[ref] for ref in refs],
            outputs=[self.static((node.name, number)) for number in range(count)],
            found=found,
            multiple=self._multiple,
            fixed=self._fixed,
        )
        try:
            values = evaluate(step)
            if step.lost:
                found.losses[node.name] = step.lost[0]
        except NotYet:
            return
        except Unprovable as reason:
            found.losses[node.name] = str(reason)
            values = Value(lost_at=node.name)
        for ref in made:
            found.values[ref] = values[ref[1]] if isinstance(values, list) else values
