"""Ops in NCHW, for which CPUs have no kernels, are computed in NHWC."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence

from ckpt2saved.graph.graph import Graph
from ckpt2saved.graph.names import Ref
from ckpt2saved.graph.ops import FUSED_BATCH_NORMS, data_format, is_training
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.rewrites.context import Context
from ckpt2saved.rewrites.found import Edit, Found
from ckpt2saved.rewrites.rewrite import Rewrite

_LAST = {"NCHW": "NHWC", "NCDHW": "NDHWC"}
# Op -> the input that has channels, and the inputs with a size for each of its dimensions. TensorFlow's CPU kernels of
# these ops support NHWC only, those of batch norm only in older releases. BiasAdd supports both.
_OPS = {
    "Conv2D": (0, ()),
    "Conv3D": (0, ()),
    "DepthwiseConv2dNative": (0, ()),
    "Conv2DBackpropInput": (2, (0,)),
    "Conv3DBackpropInputV2": (2, (0,)),
    "MaxPool": (0, ()),
    "MaxPoolV2": (0, (1, 2)),
    "MaxPool3D": (0, ()),
    "AvgPool": (0, ()),
    "AvgPool3D": (0, ()),
    "SpaceToDepth": (0, ()),
    "DepthToSpace": (0, ()),
}
_OPS.update(dict.fromkeys(FUSED_BATCH_NORMS, (0, ())))
_PER_DIMENSION = ("strides", "dilations", "ksize")
_INT32 = tf.int32.as_datatype_enum


class ConvertToNhwc(Rewrite):
    """Puts transposes around each NCHW op, and computes it in NHWC.

    Every tensor keeps its name and its order of dimensions; the optimizer of a server with a GPU removes the
    transposes. There are none between two consecutive ops.
    """

    name = "convert to NHWC"

    def __call__(self, graph: Graph, context: Context) -> Found:
        names = [node.name for node in graph.nodes.values() if is_nchw(node)]
        if not names:
            return Found()
        ops = sorted({graph[name].op for name in names})
        conversion = _Conversion(graph)
        for name in names:
            conversion.convert(name)
        conversion.done()
        text = (
            f"{names[0]}{(f' and {len(names) - 1} more' if len(names) > 1 else '')}: {', '.join(ops)} converted from"
            " NCHW to NHWC, for which CPUs have kernels"
        )
        return Found((Edit(names[0], "layout", text),))


def is_nchw(node: Any) -> bool:
    """Whether a node, or NodeDef, is in NCHW and CPUs have no kernel for that."""
    # Batch norm in training mode is Keras's layer norm here, for which newer CPUs have a kernel, or refused.
    return node.op in _OPS and data_format(node) in _LAST and not is_training(node)


class _Conversion:
    """Converts ops in the order of the graph, without transposes between consecutive ones."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.frames = graph.control.in_loops
        self.controls: List[str] = []  # of new constants
        self.converted: Dict[Ref, Ref] = {}  # NCHW -> NHWC
        self.moved: Dict[Ref, Ref] = {}  # the other outputs of a batch norm -> those of its copy

    def convert(self, name: str) -> None:
        """Add an NHWC copy of the op; the op itself becomes the transpose of the copy's output."""
        graph, node = self.graph, self.graph[name]
        first = data_format(node)
        rank = len(first)
        to_last = [0] + list(range(2, rank)) + [1]
        to_first = [0, rank - 1] + list(range(1, rank - 1))
        data, sizes = _OPS[node.op]
        inputs = list(node.inputs)
        # In a loop a constant needs a control input from inside the loop.
        self.controls = [inputs[data][0]] if name in self.frames else []
        types = {"T": node.attr["T"].type, "Tperm": _INT32}
        if inputs[data] in self.converted:
            inputs[data] = self.converted[inputs[data]]
        else:
            order = self.constant(name + "/to_last", to_last)
            inputs[data] = graph.add(name + "/input", "Transpose", [inputs[data], order], **types).name, 0
        for position in sizes:
            inputs[position] = self.reordered(name, inputs[position], to_last)
        definition = tf.NodeDef()
        definition.CopyFrom(node.definition)
        definition.name = graph.free_name(name + "/channels_last")
        definition.attr["data_format"].s = tf.compat.as_bytes(_LAST[first])
        _reorder_attributes(definition, to_last)
        converted = graph.adopt(definition, inputs, node.controls)
        if node.op in FUSED_BATCH_NORMS:
            self.moved.update({(name, number): (converted.name, number) for number in range(1, 6)})
        node.become("Transpose", [(converted.name, 0), self.constant(name + "/to_first", to_first)], **types)
        self.converted[(name, 0)] = (converted.name, 0)

    def done(self) -> None:
        """Redirect the other outputs of batch norms to their copies."""
        self.graph.redirect(self.moved)

    def reordered(self, name: str, ref: Ref, order: Sequence[int]) -> Ref:
        """The sizes of the dimensions, in another order."""
        known = self.graph.constant(ref)
        if known is not None:
            return self.constant(name + "/sizes", [int(known[axis]) for axis in order])
        inputs = [ref, self.constant(name + "/sizes/order", order), self.constant(name + "/sizes/axis", 0)]
        types = {"Tparams": _INT32, "Tindices": _INT32, "Taxis": _INT32}
        return self.graph.add(name + "/sizes", "GatherV2", inputs, **types).name, 0

    def constant(self, name: str, value: Any) -> Ref:
        node = self.graph.add(name, "Const", (), self.controls)
        node.become_constant(value, _INT32, [len(value)] if isinstance(value, list) else [])
        return node.name, 0


def _reorder_attributes(definition: Any, order: Sequence[int]) -> None:
    for key in _PER_DIMENSION:
        found = list(definition.attr[key].list.i) if key in definition.attr else []
        if len(found) == len(order):
            definition.attr[key].list.i[:] = [found[axis] for axis in order]
    found = list(definition.attr["explicit_paddings"].list.i) if "explicit_paddings" in definition.attr else []
    if found:  # one before and one after, for each dimension
        pairs = [found[2 * axis : 2 * axis + 2] for axis in order]
        definition.attr["explicit_paddings"].list.i[:] = [size for pair in pairs for size in pair]
