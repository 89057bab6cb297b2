"""Evaluation of small parts of a graph in NumPy on a few numbers, to find out what they compute."""

from __future__ import annotations

from typing import Any, Callable, Dict, Mapping, Optional, Sequence, Set

import numpy as np

from ckpt2saved.graph.graph import Graph, constant_value
from ckpt2saved.graph.names import Ref
from ckpt2saved.graph.ops import (
    ASSIGNMENTS,
    ASSIGNS_VALUE,
    ITERATIONS,
    MERGES,
    PASSING,
    SELECTS,
    SIZES,
    UNFED_PLACEHOLDERS,
    is_random,
)
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.graph.traversal import nearest

# The number of elements of any tensor; so large that n / (n - 1) is 1.
COUNT = 1e13
# Unknown scalars get these values, in turn: probabilities, so that they can stand for a keep_prob or a decay.
_SYMBOLS = (0.37, 0.62, 0.81, 0.23, 0.55, 0.44, 0.71, 0.29)
_BUDGET = 150  # nodes; dropout and a moving average have about ten

ELEMENTWISE: Mapping[str, Callable[..., Any]] = {
    "Add": np.add,
    "AddV2": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "RealDiv": np.divide,
    "Div": np.divide,
    "DivNoNan": np.divide,
    "Maximum": np.maximum,
    "Minimum": np.minimum,
    "Pow": np.power,
    "SquaredDifference": lambda x, y: (x - y) ** 2,
    "Neg": np.negative,
    "Reciprocal": np.reciprocal,
    "Inv": np.reciprocal,
    "Square": np.square,
    "Sqrt": np.sqrt,
    "Rsqrt": lambda x: 1 / np.sqrt(x),
    "Exp": np.exp,
    "Log": np.log,
    "Abs": np.abs,
    "Floor": np.floor,
    "Ceil": np.ceil,
    "Round": np.rint,
    "Rint": np.rint,
    "Sign": np.sign,
    "Relu": lambda x: np.maximum(x, 0),
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "Greater": np.greater,
    "GreaterEqual": np.greater_equal,
    "Less": np.less,
    "LessEqual": np.less_equal,
    "Equal": np.equal,
    "NotEqual": np.not_equal,
    "LogicalNot": np.logical_not,
    "LogicalAnd": np.logical_and,
    "LogicalOr": np.logical_or,
    "ZerosLike": np.zeros_like,
    "OnesLike": np.ones_like,
}
# Move values without changing them; the first input is the tensor that is moved.
MOVING = ("Reshape", "Squeeze", "ExpandDims", "Transpose", "Tile", "BroadcastTo")
# Over all axes of a tensor of rank 3, or over all that there are, which (0,) stands for too.
_ALL_OF_PICTURE = ((0,), (0, 1, 2), (-1, -2, -3), (-3, -2, -1))
_DECODERS = ("DecodeJpeg", "DecodePng", "DecodeBmp", "DecodeAndCropJpeg")
# Compute a size from sizes.
_SIZE_ARITHMETIC = ("Prod", "Gather", "GatherV2", "StridedSlice", "Slice", "Pack", "ConcatV2", "Max", "Min")
_SCALES = ("Mul", "RealDiv", "Div")


class Unprovable(Exception):
    """A value that can't be computed from what is known."""


class Probe:
    """Computes tensors from given values of tensors and variables, and made-up scalars for others that are no data."""

    def __init__(
        self,
        graph: Graph,
        data: Set[str],
        *,
        tensors: Mapping[Ref, Any],
        variables: Optional[Mapping[str, Any]] = None,
        symbols: Optional[int] = None,
        moving: bool = False,
    ) -> None:
        """`symbols`: the index of the first made-up value, None for no such values; `moving`: samples may be moved."""
        self._graph = graph
        self._data = data
        self._known: Dict[Ref, Any] = {ref: np.asarray(value) for ref, value in tensors.items()}
        self._variables = dict(variables or {})
        self._symbols = symbols
        self._moving = moving
        self._visited = 0

    def value(self, ref: Ref) -> Any:
        """An array: of samples, or a scalar that is the same for all of them. Raises Unprovable."""
        if ref not in self._known:
            self._visited += 1
            if self._visited > _BUDGET:
                raise Unprovable(ref)
            self._known[ref] = None  # a loop comes back here
            with np.errstate(all="ignore"):
                self._known[ref] = np.asarray(self._compute(ref))
        if self._known[ref] is None:
            raise Unprovable(ref)
        return self._known[ref]

    def _compute(self, ref: Ref) -> Any:
        node = self._graph.nodes.get(ref[0])
        if node is None or node.op in ITERATIONS:
            raise Unprovable(ref)
        variable = self._graph.variable(ref)
        if variable is not None:
            return self._variables[variable] if variable in self._variables else self._symbol(ref)
        if node.op in PASSING or node.op == "Cast":
            value = self.value(node.inputs[0])
            to_bool = node.op == "Cast" and node.attr["DstT"].type == tf.bool.as_datatype_enum
            return value.astype(bool) if to_bool else value.astype(float) if value.dtype == bool else value
        if node.op == "Const":
            value = constant_value(node)
            if value is not None and value.size and value.dtype.kind in "fiub" and np.all(value == value.flat[0]):
                return value.flat[0] if value.dtype.kind == "b" else float(value.flat[0])
            raise Unprovable(ref)
        if node.op in SIZES:
            return COUNT
        if node.op in _SIZE_ARITHMETIC and self._value_or_none(node.inputs[0]) == COUNT:
            return COUNT
        if node.op in ASSIGNMENTS:
            return assigned_value(self._graph, node.name, self)
        if node.op in SELECTS:
            return np.where(*[self.value(source) for source in node.inputs])
        if node.op in ("Mean", "Sum") and reduces_batch(self._graph, node.name):
            return np.mean(self.value(node.inputs[0]))  # a sum as well: what divides it by the count is left out below
        if node.op in MOVING:
            value = self.value(node.inputs[0])
            if value.ndim and not self._moving:
                raise Unprovable(ref)
            return value
        if node.op == "Fill":
            return self.value(node.inputs[1])
        if node.op == "AddN":
            return sum(self.value(source) for source in node.inputs)
        if node.op in _SCALES:
            for total, other in (node.inputs, node.inputs[::-1]):
                if self._is_batch_sum(total) and (total == node.inputs[0] or node.op == "Mul"):
                    self._check_count(other)
                    return self.value(total)
        if node.op in ELEMENTWISE:
            return self._elementwise(node, ref)
        if node.op in MERGES:
            return self._merged(node, ref)
        return self._symbol(ref)

    def _elementwise(self, node: Any, ref: Ref) -> Any:
        try:
            values = [self.value(source) for source in node.inputs]
        except Unprovable:
            return self._symbol(ref)  # a part that is no data can be unknown as a whole
        if node.op == "Sub" and all(value.dtype == bool for value in values):
            raise Unprovable(ref)
        return ELEMENTWISE[node.op](*values)

    def _merged(self, node: Any, ref: Ref) -> Any:
        values = [self._value_or_none(source) for source in node.inputs]
        if all(value is not None and np.array_equal(value, values[0]) for value in values):
            return values[0]
        return self._symbol(ref)

    def _value_or_none(self, ref: Ref) -> Any:
        try:
            return self.value(ref)
        except Unprovable:
            return None

    def _is_batch_sum(self, ref: Ref) -> bool:
        node = self._graph.nodes.get(self._graph.root(ref)[0])
        return node is not None and node.op == "Sum" and reduces_batch(self._graph, node.name)

    def _check_count(self, ref: Ref) -> None:
        """Raise Unprovable unless a tensor can be the number of elements of a sum, or its reciprocal."""
        value = self.value(ref)
        if value.ndim or not value or not np.isfinite(value):
            raise Unprovable(ref)
        if not (
            value in (COUNT, 1 / COUNT)
            or abs(1 / value - round(float(1 / value))) < 1e-3
            or value == round(float(value))
        ):
            raise Unprovable(ref)

    def _symbol(self, ref: Ref) -> float:
        if self._symbols is None or ref[0] in self._data or is_random(self._graph[ref[0]].op):
            raise Unprovable(ref)
        self._symbols += 1
        return _SYMBOLS[(self._symbols - 1) % len(_SYMBOLS)]


def assigned_value(graph: Graph, name: str, probe: Probe) -> Any:
    """What a variable holds after the assignment called `name`."""
    node = graph[name]
    target, value = node.inputs[:2]
    if node.op in ASSIGNS_VALUE:
        return probe.value(value)
    if node.op in ("AssignSub", "AssignSubVariableOp"):
        return probe.value(target) - probe.value(value)
    if node.op in ("AssignAdd", "AssignAddVariableOp"):
        return probe.value(target) + probe.value(value)
    raise Unprovable((name, 0))


def reduces_batch(graph: Graph, name: str) -> bool:
    """Whether a reduction runs over the first axis, the batch's."""
    axes = reduction_axes(graph, name)
    if axes is None or not (0 in axes or any(axis < -3 for axis in axes)):
        return False
    return not (axes in _ALL_OF_PICTURE and _is_one_picture(graph, graph[name].inputs[0]))


def _is_one_picture(graph: Graph, ref: Ref) -> bool:
    """Whether a tensor is computed elementwise from a single picture [height, width, channels], without a batch."""
    pictures, others = 0, 0

    def following(ref: Ref) -> Sequence[Ref]:
        nonlocal pictures, others
        node = graph.nodes.get(ref[0])
        if node is None or node.op in ("Const",) + SIZES:
            return ()
        if node.op in ELEMENTWISE:
            return [graph.root(source) for source in node.inputs]
        if node.op in _DECODERS or (node.op in UNFED_PLACEHOLDERS and _has_a_picture(node)):
            pictures += 1
        elif not (node.op in ("Mean", "Sum") and reduction_axes(graph, node.name) in _ALL_OF_PICTURE):
            others += 1
        return ()

    return not any(others for _ in nearest([graph.root(ref)], following, _BUDGET)) and not others and pictures > 0


def _has_a_picture(node: Any) -> bool:
    """Whether a placeholder is shaped as one picture: rows that could be a batch have no three or four channels."""
    sizes = [dim.size for dim in node.attr["shape"].shape.dim] if "shape" in node.attr else []
    return len(sizes) == 3 and (sizes[2] in (3, 4) or (sizes[2] == 1 and sizes[0] > 1))


def reduction_axes(graph: Graph, name: str) -> Any:
    """The axes of a reduction as a tuple, (0,) standing for 0 and whatever follows it; None where they are unknown."""
    node = graph[name]
    axes = graph.constant(node.inputs[1])
    if axes is not None:
        return tuple(int(axis) for axis in np.ravel(axes))
    source = graph[graph.root(node.inputs[1])[0]]
    if source.op == "Range":
        start = graph.constant(source.inputs[0])
        if start is not None and int(start) == 0:
            return (0,)
    return None
