"""A training graph with the dtypes and shapes of its tensors, as TensorFlow's shape functions infer them."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence, Set, Tuple

from ckpt2saved.console.reasons import reason_of
from ckpt2saved.errors import CheckpointError
from ckpt2saved.graph.graph import Graph, Node, Tensor
from ckpt2saved.graph.meta_graph import MetaGraph
from ckpt2saved.graph.tf1 import op_def, tf
from ckpt2saved.graph.traversal import reach


def with_shapes(graph: Graph, meta_graph: MetaGraph) -> Graph:
    """A training graph with the dtypes and shapes of its forward pass.

    Nodes that depend on ops that this TensorFlow does not have are left out. Raises CheckpointError where TensorFlow
    can't import the forward pass.
    """
    lost = _depending_on_foreign(graph)
    known = Graph(graph.part(graph.nodes.keys() - lost)) if lost else graph
    imported = tf.Graph()
    try:
        with imported.as_default():
            tf.import_graph_def(known.forward_def, name="")
    except (ValueError, tf.errors.OpError) as error:
        raise CheckpointError(
            f"{meta_graph.path}: TensorFlow {tf.VERSION} can't import this graph: {reason_of(error)}"
        ) from error
    shapes = meta_graph.shapes
    known.outputs = {op.name: _tensors(op, shapes.get(op.name, ())) for op in imported.get_operations()}
    return known


def foreign_nodes(graph: Graph) -> List[Node]:
    """The nodes of ops that this TensorFlow does not have, such as a loss of a third-party library."""
    lacking = {op for op in {node.op for node in graph.nodes.values()} - set(graph.functions) if op_def(op) is None}
    return [node for node in graph.nodes.values() if node.op in lacking]


def _depending_on_foreign(graph: Graph) -> Set[str]:
    """The nodes of ops that this TensorFlow does not have, and all nodes that depend on them."""
    lost = {node.name for node in foreign_nodes(graph)}
    if not lost:
        return lost
    waiting: Dict[str, List[str]] = {}
    for node in graph.nodes.values():
        for source in node.controls:
            waiting.setdefault(source, []).append(node.name)
    return reach(lost, lambda name: [one.name for one in graph.consumers(name)] + waiting.get(name, []))


def _tensors(op: tf.Operation, recorded: Sequence[Any]) -> Tuple[Tensor, ...]:
    """The outputs of an operation, with inferred shapes refined by those that the training recorded."""
    outputs: List[Tensor] = []
    for number, output in enumerate(op.outputs):
        shape = output.shape
        if number < len(recorded) and not shape.is_fully_defined():
            known = tf.TensorShape(recorded[number])
            if shape.is_compatible_with(known):
                shape = shape.merge_with(known)
        sizes = None if shape.ndims is None else tuple(shape.as_list())
        outputs.append(Tensor(ref=(op.name, number), dtype=output.dtype.base_dtype.name, shape=sizes))
    return tuple(outputs)
