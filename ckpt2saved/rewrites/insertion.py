"""Nodes that TensorFlow's Python API makes are put into a graph."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple

from ckpt2saved.graph.graph import Graph, Node
from ckpt2saved.graph.names import Ref, parsed
from ckpt2saved.graph.tf1 import tf, v1_control_flow


def insert(
    graph: Graph, scope: str, sources: Mapping[str, Tuple[Ref, Any, Any]], build: Callable[..., Sequence[Any]]
) -> List[Ref]:
    """Add what `build` makes of placeholders called as `sources`, and let the sources take their place.

    `sources` are name -> (tensor of the graph, dtype, shape); the new nodes are in the scope `scope`, or one like it.
    Returns the tensors that `build` returns.
    """
    scope = _free_scope(graph, scope)
    with tf.Graph().as_default() as built, v1_control_flow():
        arguments = {name: tf.placeholder(dtype, shape, name=name) for name, (_, dtype, shape) in sources.items()}
        with tf.name_scope(scope + "/"):
            tensors = build(**arguments)
    places = {name: ref for name, (ref, _, _) in sources.items()}
    first = next(iter(places.values()))[0]
    # A node without inputs is outside of every loop, and nothing inside of one may read it.
    anchors = [first] if first in graph.control.in_loops else []
    graph_def = built.as_graph_def()
    graph.add_functions(graph_def.library.function)
    for definition in graph_def.node:
        if definition.name not in places:
            inputs = [_source(name, places) for name in definition.input if not name.startswith("^")]
            controls = [_source(name[1:], places)[0] for name in definition.input if name.startswith("^")]
            graph.adopt(definition, inputs, controls if definition.input else anchors)
    return [_source(tensor.name, places) for tensor in tensors]


def lead_in(graph: Graph, ref: Ref, like: Node, dtype: int) -> Ref:
    """The tensor in a loop that equals `ref`, from outside, at every step; `like` is an Enter of the loop."""
    enter = graph.add(f"{ref[0]}/enter", "Enter", [ref], T=dtype)
    enter.attr["frame_name"].s = like.attr["frame_name"].s
    enter.attr["is_constant"].b = True
    enter.attr["parallel_iterations"].i = like.attr["parallel_iterations"].i or 10
    return enter.name, 0


def _source(name: str, places: Dict[str, Ref]) -> Ref:
    """A tensor, or what takes the place of the placeholder of that name."""
    ref = parsed(name)
    return places.get(ref[0], ref)


def _free_scope(graph: Graph, scope: str) -> str:
    """`scope`, or that with the first number for which no node is inside."""
    found, number = scope, 0
    while any(name.startswith(found + "/") for name in graph.nodes):
        number += 1
        found = f"{scope}_{number}"
    return found
