"""Add to a graph what warm-up requests need: outputs or signatures that a server with batching can split.

An added signature has one number for each line, computed from the outputs of another signature.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set, Tuple

import numpy as np

from ckpt2saved.graph.copying import copied
from ckpt2saved.graph.graph_def import pruned
from ckpt2saved.graph.names import full_name, node_name, parsed
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.graph.traversal import reach, reversed_edges
from ckpt2saved.requests.warm_up.marks import MARK
from ckpt2saved.saved_model.writing import ServingGraph, cut_down, spec_of
from ckpt2saved.signature.tensors import WARMUP, Signature, TensorSpec

_LARGE = 4096  # values; a larger float input is not stored in the graph, but tiled from _REPEATED values
_REPEATED = 997  # values; a prime, so that the rows of an image differ


def with_total(serving: ServingGraph, of: str, name: str, answering: Optional[ServingGraph] = None) -> ServingGraph:
    """Add a signature `name` with the inputs of the signature `of`, which must have a batch dimension.

    Its only output, float32 [batch], depends on the values of all outputs of `of`. With `answering`, the same graph
    with some nodes replaced, these are the outputs in `answering`, and the nodes that differ there are added.
    """
    signature = serving.signatures[of]
    graph = _imported(serving.graph_def)
    with graph.as_default(), tf.name_scope(name + "/"):
        batch = tf.shape(graph.get_tensor_by_name(signature.inputs[0].tensor))[:1]
        total = tf.fill(batch, _total(_outputs(graph, serving, answering or serving, of)))
    return _with_signature(serving, graph, name, signature.inputs, total)


def with_total_of_copy(
    serving: ServingGraph,
    of: str,
    name: str,
    inputs: Mapping[str, np.ndarray],
    answering: Optional[ServingGraph] = None,
) -> ServingGraph:
    """Add a signature `name` with one input, float32 [batch].

    Its only output, float32 [batch], depends on the values of all outputs of the signature `of` for `inputs`. The nodes
    behind these outputs are copied, from `answering` if given (see `with_total`), so that requests for `of` and for
    this signature do not share nodes.
    """
    answering = answering or serving
    signature = answering.signatures[of]
    part = pruned(answering.graph_def, {node_name(spec.tensor) for spec in signature.outputs})
    graph = _imported(serving.graph_def)
    with graph.as_default(), tf.name_scope(name + "/"):
        lines = tf.placeholder(tf.float32, [None], name="lines")
        scale = tf.reduce_max(lines)  # 1 in the request; prevents constant folding of the copied nodes
        present = {node.name for node in part.node}
        used = {signature.input(key).tensor: value for key, value in inputs.items()}
        fed = {name: _stand_in(value, scale) for name, value in used.items() if node_name(name) in present}
        outputs = copied(part, fed, [spec.tensor for spec in signature.outputs])
        total = tf.fill(tf.shape(lines), _total(outputs))
    return _with_signature(serving, graph, name, (spec_of(WARMUP, lines),), total)


def with_marked_outputs(serving: ServingGraph, of: str, key: str) -> ServingGraph:
    """Give the outputs of the signature `of` a row of zeros for each line if its input `key` begins with the mark.

    All other requests get the outputs as they were, which are computed in both cases. The signature keeps its keys,
    dtypes and shapes.
    """
    signature = serving.signatures[of]
    graph = _imported(serving.graph_def)
    moved: Dict[str, str] = {}
    with graph.as_default(), tf.name_scope(f"{WARMUP}/{of}/"):
        values = graph.get_tensor_by_name(signature.input(key).tensor)
        first = tf.reshape(values, [-1])[:1]  # empty for a request without lines
        is_marked = tf.reduce_any(tf.equal(first, tf.constant(MARK, first.dtype)))
        # The zeros depend on the mark by the batch alone: the shape of an output may be a constant of the graph.
        batch = tf.raw_ops.Switch(data=tf.shape(values)[:1], pred=is_marked).output_true
        for spec in signature.outputs:
            output = tf.identity(graph.get_tensor_by_name(spec.tensor))
            usual = tf.raw_ops.Switch(data=output, pred=is_marked).output_false
            rows = tf.zeros(tf.concat([batch, tf.shape(output)[1:]], 0), output.dtype)
            moved[spec.tensor] = tf.raw_ops.Merge(inputs=[usual, rows], name=spec.key).output.name
    signatures = {**serving.signatures, of: signature.with_outputs(moved)}
    return cut_down(replace(serving, graph_def=graph.as_graph_def(), signatures=signatures))


def request_of_copy() -> Dict[str, np.ndarray]:
    """The inputs of a request for a signature of `with_total_of_copy`; its stored inputs are multiplied by them."""
    return {WARMUP: np.ones([2], "float32")}


def _outputs(graph: tf.Graph, serving: ServingGraph, answering: ServingGraph, of: str) -> List[tf.Tensor]:
    """The outputs of a signature in `graph`, the graph of `serving`; adds the nodes that differ in `answering`."""
    names = [spec.tensor for spec in answering.signatures[of].outputs]
    same = _same_nodes(serving.graph_def, answering.graph_def)
    others = [name for name in names if node_name(name) not in same]
    if not others:
        return [graph.get_tensor_by_name(name) for name in names]
    part = pruned(answering.graph_def, {node_name(name) for name in others})
    for node in [node for node in part.node if node.name in same]:
        part.node.remove(node)
    fed: Dict[str, tf.Tensor] = {}
    for node in part.node:
        node.input[:] = [source for source in node.input if source[0] != "^" or node_name(source) not in same]
        for source in node.input:
            if source[0] != "^" and node_name(source) in same:
                tensor = full_name(parsed(source))
                fed[tensor] = graph.get_tensor_by_name(tensor)
    made = dict(zip(others, copied(part, fed, others)))
    return [made[name] if name in made else graph.get_tensor_by_name(name) for name in names]


def _same_nodes(before: Any, after: Any) -> Set[str]:
    """Names of the nodes of `after` that compute the same in both graphs."""
    known = {node.name: (node.op, _sources(node)) for node in before.node}
    takers = reversed_edges({node.name: [node_name(source) for source in node.input] for node in after.node})
    changed = [node.name for node in after.node if known.get(node.name) != (node.op, _sources(node))]
    differing = reach(changed, lambda name: takers.get(name, ()))
    return {node.name for node in after.node} - differing


def _sources(node: Any) -> List[str]:
    """The inputs of a node in canonical form."""
    return [source if source[0] == "^" else full_name(parsed(source)) for source in node.input]


def _imported(graph_def: Any) -> tf.Graph:
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(graph_def, name="")
    return graph


def _with_signature(
    serving: ServingGraph, graph: tf.Graph, name: str, inputs: Tuple[TensorSpec, ...], total: tf.Tensor
) -> ServingGraph:
    added = Signature(name, inputs, (spec_of(WARMUP, total),))
    signatures = {**serving.signatures, name: added}
    return cut_down(replace(serving, graph_def=graph.as_graph_def(), signatures=signatures))


def _total(outputs: Sequence[tf.Tensor]) -> tf.Tensor:
    """The sum of the mean absolute values of the outputs; terms cannot cancel, and empty outputs give 0."""
    return tf.add_n([tf.reduce_sum(_sizes(output)) / tf.cast(tf.size(output) + 1, tf.float32) for output in outputs])


def _sizes(output: tf.Tensor) -> tf.Tensor:
    if output.dtype == tf.string:
        output = tf.strings.to_hash_bucket_fast(output, 1024)
    if output.dtype.is_quantized:
        return tf.cast(tf.reshape(tf.size(output), [1]), tf.float32)
    if output.dtype.is_complex:
        output = tf.abs(output)
    return tf.abs(tf.cast(output, tf.float32))


def _stand_in(value: np.ndarray, scale: tf.Tensor) -> tf.Tensor:
    """A tensor with the dtype and shape of `value`; a large image is tiled from few values to keep the graph small."""
    dtype = tf.as_dtype(value.dtype if value.dtype != object else "string")
    if not dtype.is_floating and (dtype != tf.uint8 or value.size <= _LARGE):
        return tf.constant(value, dtype)
    if value.size <= _LARGE:
        return tf.cast(tf.constant(value.astype("float32")) * scale, dtype)
    few = np.resize(value.astype("float32").ravel(), [_REPEATED])
    times = -(-value.size // _REPEATED)
    return tf.cast(tf.reshape(tf.tile(few * scale, [times])[: value.size], value.shape), dtype)
