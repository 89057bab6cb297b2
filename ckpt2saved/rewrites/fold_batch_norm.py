"""Batch norm that directly follows a convolution is folded into its kernel and bias.

Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference" (2017),
section 3.2: conv(x, w) * scale + shift = conv(x, w * scale) + shift.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, List, Optional, Sequence, Set

from ckpt2saved.checkpoint.derived import Derived
from ckpt2saved.graph.graph import Graph, Node
from ckpt2saved.graph.names import Ref, full_name
from ckpt2saved.graph.ops import FUSED_BATCH_NORMS, VARIABLES, data_format, is_training
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.graph.traversal import behind
from ckpt2saved.rewrites.context import Context
from ckpt2saved.rewrites.fixed_values import (
    READS,
    STORING,
    ValuesStored,
    behind_all,
    is_fixed,
    only_stored,
    variable_shape,
    with_placeholders,
)
from ckpt2saved.rewrites.found import Found
from ckpt2saved.rewrites.rewrite import Rewrite

_CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative")
_DEPTHWISE = "DepthwiseConv2dNative"
_ADDS = ("Add", "AddV2")


@dataclass(frozen=True)
class BatchNormFolded(ValuesStored):
    """A batch norm that was folded."""


@dataclass(frozen=True)
class _Norm:
    """A batch norm, its convolution, and the tensors that scale and shift are computed from."""

    node: Node  # that computes its output
    convolution: Node
    bias: Optional[Ref]  # added between the two
    between: Sequence[str]  # the nodes from the convolution to the output
    parts: Sequence[Ref]  # fused: gamma, beta, mean, variance; else: scale, shift
    data_format: str


class FoldBatchNorm(Rewrite):
    """Multiplies kernels by the scale of the batch norm that follows, which becomes the addition of a bias.

    Variables stay variables: that of the kernel holds the folded kernel, and that of beta (or of another part of the
    batch norm, or of the convolution's bias) the folded bias. A batch norm is folded only if nothing else reads these
    two.
    """

    name = "fold batch norm"

    def __call__(self, graph: Graph, context: Context) -> Found:
        edits = []
        for name in list(graph.nodes):
            norm = _norm(graph, graph[name])
            edit = _folded(graph, norm, set(context.outputs)) if norm else None
            if edit:
                edits.append(edit)
        return Found(tuple(edits))


def _norm(graph: Graph, node: Node) -> Optional[_Norm]:
    """The batch norm that ends in a node, if it follows a convolution."""
    if node.op in FUSED_BATCH_NORMS and not is_training(node):
        source, parts, inner = node.inputs[0], node.inputs[1:5], []
        layout = data_format(node)
    elif node.op in _ADDS and graph[node.inputs[0][0]].op == "Mul":
        product = graph[node.inputs[0][0]]
        source, parts, inner = product.inputs[0], [product.inputs[1], node.inputs[1]], [product.name]
        layout = "NHWC"
    else:
        return None
    convolution, bias = graph[source[0]], None
    if _adds_bias(graph, convolution, layout):
        inner = [convolution.name, *inner]
        source, bias = convolution.inputs
        convolution = graph[source[0]]
    if convolution.op not in _CONVOLUTIONS or data_format(convolution) != layout:
        return None
    parts = [*parts, *([bias] if bias else [])]
    if not all(is_fixed(graph, ref) for ref in parts):
        return None
    return _Norm(
        node=node,
        convolution=convolution,
        bias=bias,
        between=[convolution.name, *inner],
        parts=parts,
        data_format=layout,
    )


def _adds_bias(graph: Graph, node: Node, layout: str) -> bool:
    """Whether a node may add a bias; Keras adds it by an Add of a tensor that has all axes."""
    if node.op == "BiasAdd":
        return data_format(node) == layout
    return node.op in _ADDS and layout == "NHWC" and is_fixed(graph, node.inputs[1])


def _folded(graph: Graph, norm: _Norm, outputs: Set[Ref]) -> Optional[BatchNormFolded]:
    """Fold a batch norm, where that changes nothing else."""
    node, convolution = norm.node, norm.convolution
    following = [*norm.between[1:], node.name]
    for name, user in zip(norm.between, following):
        if (name, 0) in outputs or [other.name for other in graph.consumers(name)] != [user]:
            return None
    if any((node.name, index) in outputs or graph.users((node.name, index)) for index in range(1, 6)):
        return None
    kernel = graph.variable(convolution.inputs[1])
    reads = behind_all(graph, [convolution.inputs[1]])
    if kernel is None or not all(graph[name].op in (*READS, *VARIABLES) for name in reads):
        return None
    if not _feeds_only(graph, kernel, reads, convolution.name):
        return None
    formula = _Formula(graph, norm, kernel)
    inner = behind_all(graph, norm.parts) | set(norm.between)
    holders = [name for name in formula.vectors if _feeds_only(graph, name, inner, node.name)]
    if not formula.is_sound or not holders:
        return None
    holder = holders[0]
    values = {kernel: formula.derived("kernel"), holder: formula.derived("bias")}
    dtype = node.attr["T"].type
    read = graph.add_read(node.name + "/bias", holder)
    node.become("BiasAdd", [(convolution.name, 0), read], T=dtype)
    node.attr["data_format"].s = tf.compat.as_bytes(norm.data_format)
    graph.changed()
    text = f"{node.name}: folded into the kernel {kernel} of {convolution.name}, and a bias"
    return BatchNormFolded(node.name, "fold", text, is_shown=False, values=values)


def _feeds_only(graph: Graph, variable: str, inner: Set[str], end: str) -> bool:
    """Whether all nodes that read a variable, except to save it, are in `inner` or are the node `end`."""

    def following(name: str) -> List[str]:
        return [user.name for user in graph.consumers(name) if user.name != end and user.op not in STORING]

    readers = behind([variable], following)
    return all(name in inner or only_stored(graph, name) for name in readers)


class _Formula:
    """The folded kernel and bias, computed by TensorFlow ops from the values of variables."""

    def __init__(self, graph: Graph, norm: _Norm, kernel: str) -> None:
        part, self.variables = with_placeholders(graph, [*norm.parts, norm.convolution.inputs[1]])
        with tf.Graph().as_default() as built:
            tf.import_graph_def(part, name="")
            tensors = [built.get_tensor_by_name(full_name(ref)) for ref in norm.parts]
            weights = built.get_tensor_by_name(full_name(norm.convolution.inputs[1]))
            shape = weights.shape.as_list() if weights.shape.ndims == 4 else []
            self.is_sound = bool(shape) and None not in shape and weights.dtype == tf.float32
            if self.is_sound:
                depthwise = norm.convolution.op == _DEPTHWISE
                channels = shape[2] * shape[3] if depthwise else shape[3]
                self.is_sound = all(_is_per_channel(tensor, channels) for tensor in tensors)
            if self.is_sound:
                wide = [tf.reshape(tf.cast(tensor, tf.float64), [channels]) for tensor in tensors]
                scale, shift = _scale_and_shift(norm, wide)
                factor = tf.reshape(scale, [1, 1, *shape[2:]]) if depthwise else scale
                tf.cast(tf.cast(weights, tf.float64) * factor, tf.float32, name="folded/kernel")
                tf.cast(shift, tf.float32, name="folded/bias")
                # Beta first, as it is the one that is a bias already.
                preferred = [graph.variable(ref) for ref in (norm.parts[1], *norm.parts)]
                names = [*filter(None, preferred), *self.variables.values()]
                self.vectors = [
                    name
                    for name in dict.fromkeys(names)
                    if variable_shape(graph, name) == [channels] and name != kernel
                ]
            self.graph_def = built.as_graph_def()

    vectors: List[str] = []  # the variables that could hold the folded bias

    def derived(self, what: str) -> Derived:
        """The value of the folded kernel or bias."""
        return Derived(self.graph_def, f"folded/{what}:0", self.variables)


def _scale_and_shift(norm: _Norm, parts: Sequence[Any]) -> Any:
    """What a batch norm multiplies by and adds, in float64 [channels]."""
    bias = parts[-1] if norm.bias else 0.0
    if norm.node.op not in FUSED_BATCH_NORMS:
        scale, shift = parts[:2]
        return scale, bias * scale + shift
    gamma, beta, mean, variance = parts[:4]
    # The op's own default, where the attribute was stripped.
    epsilon = norm.node.attr["epsilon"].f if "epsilon" in norm.node.attr else 1e-4
    scale = gamma * tf.math.rsqrt(variance + tf.constant(epsilon, tf.float64))
    return scale, beta + (bias - mean) * scale


def _is_per_channel(tensor: Any, channels: int) -> bool:
    """Whether a tensor has one value for each channel, and broadcasts over the last axis."""
    if tensor.dtype != tf.float32 or tensor.shape.ndims is None or not tensor.shape.is_fully_defined():
        return False
    sizes = tensor.shape.as_list()
    return bool(sizes) and sizes[-1] == channels and all(size == 1 for size in sizes[:-1])
