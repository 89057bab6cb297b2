"""Find the batch dimension of a tensor by running its graph with batches of two sizes."""

from __future__ import annotations

from typing import Mapping, Optional, Sequence, Tuple

import numpy as np

from ckpt2saved.checkpoint.variables import graph_variables
from ckpt2saved.graph.graph_def import pruned
from ckpt2saved.graph.ops import RESOURCE_VARIABLES
from ckpt2saved.graph.tf1 import open_session, tf
from ckpt2saved.signature.tensors import TensorSpec

_BATCHES = (2, 3)
_OPEN = 64  # for all other open sizes


def batch_axis(graph: tf.Graph, inputs: Mapping[str, TensorSpec], tensor: tf.Tensor) -> Optional[int]:
    """The one axis of `tensor` whose size is that of the batch; None if there is not exactly one.

    `inputs` are the input tensors of the graph by name, with the shapes of the signature. The graph is run with zeros
    for variables and inputs, because only shapes are needed and few graphs have them statically.
    """
    batches = {spec.shape[0] for spec in inputs.values() if spec.shape and len(spec.shape) > 1}
    if len(batches) != 1:
        return None
    (batch,) = batches
    if not isinstance(batch, str):
        shape = _shape(graph, inputs, tensor, {})
        return _only([size == batch for size in shape or ()])
    before, after = (_shape(graph, inputs, tensor, {batch: size}) for size in _BATCHES)
    return _only([sizes == _BATCHES for sizes in zip(before or (), after or ())])


def _only(fits: Sequence[bool]) -> Optional[int]:
    return list(fits).index(True) if sum(fits) == 1 else None


def _shape(
    graph: tf.Graph, inputs: Mapping[str, TensorSpec], tensor: tf.Tensor, dims: Mapping[str, int]
) -> Optional[Tuple[int, ...]]:
    graph_def = pruned(graph.as_graph_def(), [tensor.op.name])
    with tf.Graph().as_default() as part, open_session() as session:
        tf.import_graph_def(graph_def, name="")
        fills = []
        for variable in graph_variables(part):
            if None in variable.shape:
                return None
            op, zeros = part.get_operation_by_name(variable.name), tf.zeros(variable.shape, variable.dtype)
            if op.type in RESOURCE_VARIABLES:
                fills.append(tf.raw_ops.AssignVariableOp(resource=op.outputs[0], value=zeros))
            else:
                fills.append(tf.raw_ops.Assign(ref=op.outputs[0], value=zeros).op)
        feeds = {name: _zeros(spec, dims) for name, spec in inputs.items() if _is_in(part, name)}
        try:
            session.run(fills)
            shape: Tuple[int, ...] = np.shape(session.run(tensor.name, feeds))
            return shape
        except (tf.errors.OpError, ValueError):  # the graph has a fixed size, or a lookup table is empty
            return None


def _is_in(graph: tf.Graph, tensor: str) -> bool:
    try:
        graph.get_tensor_by_name(tensor)
    except KeyError:
        return False
    return True


def _zeros(spec: TensorSpec, dims: Mapping[str, int]) -> np.ndarray:
    sizes = [size if isinstance(size, int) else dims.get(str(size), _OPEN) for size in spec.dimensions]
    return np.zeros(sizes, tf.as_dtype(spec.dtype).as_numpy_dtype)
