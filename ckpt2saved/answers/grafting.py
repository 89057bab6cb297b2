"""Import a rewritten graph into the graph that it was made from, so that one session runs both."""

from __future__ import annotations

from typing import Dict

from ckpt2saved.graph.ops import ENTERS, VARIABLES
from ckpt2saved.rewrites.for_serving import ServingRewritten
from ckpt2saved.signature.tensors import Signature
from ckpt2saved.tf1 import tf

_GRAFTED = "rewritten"
_SHARED = ("Placeholder",) + VARIABLES


def graft(graph: tf.Graph, rewritten: ServingRewritten) -> Dict[str, Signature]:
    """Import the rewritten graph into `graph`, with shared placeholders and variables; returns its signatures there.

    A session with the variables of `graph` can then run both.
    """
    graph_def = tf.GraphDef()
    graph_def.CopyFrom(rewritten.serving.graph_def)
    for node in graph_def.node:
        if node.op in ENTERS:  # two loops with the same frame name would be treated as one
            node.attr["frame_name"].s = tf.compat.as_bytes(grafted(tf.compat.as_text(node.attr["frame_name"].s)))
    shared = [node.name + ":0" for node in graph_def.node if node.op in _SHARED]
    with graph.as_default():
        tensors = {name: graph.get_tensor_by_name(name) for name in shared}
        tf.import_graph_def(graph_def, input_map=tensors, name=_GRAFTED)
    return {
        name: signature.with_outputs({spec.tensor: grafted(spec.tensor) for spec in signature.outputs})
        for name, signature in rewritten.serving.signatures.items()
    }


def grafted(tensor: str) -> str:
    """The name that `graft` gives to a tensor of the rewritten graph."""
    return f"{_GRAFTED}/{tensor}"
