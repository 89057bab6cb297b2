"""A part of a graph computed once more, on other inputs, in a graph that has it already."""

from __future__ import annotations

from typing import Any, List, Mapping, Sequence

from ckpt2saved.graph.names import full_name, parsed
from ckpt2saved.graph.ops import ENTERS, is_state
from ckpt2saved.graph.tf1 import tf


def copied(part: Any, fed: Mapping[str, tf.Tensor], outputs: Sequence[str], name: str = "copy") -> List[tf.Tensor]:
    """Copy the nodes of `part` into the default graph, which has them; returns the copies of the tensors `outputs`.

    The copies, below `name`, take `fed` in place of these tensors. Variables and tables are shared, not copied.
    """
    graph = tf.get_default_graph()
    scope = f"{graph.get_name_scope()}/{name}"
    shared = {node.name for node in part.node if is_state(node.op)}
    kept = tf.GraphDef(versions=part.versions, library=part.library)
    read = set(outputs)
    for node in part.node:
        if node.name in shared:
            continue
        copy = kept.node.add()
        copy.CopyFrom(node)
        copy.input[:] = [source for source in node.input if source.lstrip("^") not in shared or source[0] != "^"]
        read.update(full_name(parsed(source)) for source in copy.input if source[0] != "^")
        if node.op in ENTERS:  # two loops with the same frame name would be treated as one
            copy.attr["frame_name"].s = tf.compat.as_bytes(scope + "/") + node.attr["frame_name"].s
    tensors = {one + ":0": graph.get_tensor_by_name(one + ":0") for one in shared}
    tensors.update(fed)
    used = {tensor: value for tensor, value in tensors.items() if tensor in read}
    found: List[tf.Tensor] = tf.import_graph_def(kept, input_map=used, return_elements=list(outputs), name=name)
    return found
