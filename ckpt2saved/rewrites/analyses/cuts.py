"""Which columns of a matrix, or which entries of a vector, a tensor is that Split or a slice cuts out of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Optional, Sequence, Tuple

from ckpt2saved.graph.graph import Graph, Node
from ckpt2saved.graph.names import Ref, full_name
from ckpt2saved.rewrites.analyses.loops import entered, unchanged
from ckpt2saved.rewrites.context import Context
from ckpt2saved.rewrites.fixed_values import variable_shape


@dataclass(frozen=True)
class Cut:
    """A part of a tensor along its last axis."""

    whole: Any  # what is cut: equal for tensors with the same value, hashable
    ref: Ref  # the whole
    enter: Optional[Node]  # leads the part into a loop; None where it is cut inside, or no loop takes it
    columns: Tuple[int, int, int]  # the first, the one behind the last, and how many the whole has

    @property
    def width(self) -> int:
        """How many columns the part has."""
        return self.columns[1] - self.columns[0]

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left out."""
        return self.width == self.columns[2]


def cut_of(graph: Graph, context: Context, ref: Ref) -> Optional[Cut]:
    """What a tensor, also one in a loop, is cut out of, where all of its sizes are known; None for other tensors."""
    enter = entered(graph, ref)
    ref = unchanged(graph, ref if enter is None else enter.inputs[0])
    node = graph[ref[0]]
    if node.op not in ("Split", "StridedSlice"):
        return None
    whole = node.inputs[1 if node.op == "Split" else 0]
    shape = _shape(graph, context, whole)
    if not shape:
        return None
    between = _split(graph, node, ref[1], shape) if node.op == "Split" else _slice(graph, node, shape)
    if between is None:
        return None
    return Cut(_origin(graph, whole), whole, enter, (*between, shape[-1]))


def joined(cuts: Sequence[Cut]) -> Optional[Cut]:
    """Parts of the same tensor with the same width, each beginning where the one before ends, as one part."""
    first, last = cuts[0], cuts[-1]
    for one, following in zip(cuts, cuts[1:]):
        if one.whole != following.whole or one.width != following.width or one.columns[1] != following.columns[0]:
            return None
    return replace(first, columns=(first.columns[0], last.columns[1], first.columns[2]))


def _split(graph: Graph, node: Node, output: int, shape: Sequence[int]) -> Optional[Tuple[int, int]]:
    axis, count = graph.constant(node.inputs[0]), int(node.attr["num_split"].i)
    if axis is None or int(axis) not in (-1, len(shape) - 1):
        return None
    width = shape[-1] // count
    return output * width, (output + 1) * width


def _slice(graph: Graph, node: Node, shape: Sequence[int]) -> Optional[Tuple[int, int]]:
    begin, end, strides = (graph.constant(ref) for ref in node.inputs[1:])
    leading = _mask(node, "ellipsis_mask")  # 1 where the first entry stands for all axes but the last ones
    if begin is None or end is None or strides is None or leading not in (0, 1):
        return None
    if _mask(node, "new_axis_mask") or _mask(node, "shrink_axis_mask"):
        return None
    if not leading < len(begin) <= len(shape) + leading or len(begin) < len(shape) * (1 - leading):
        return None
    found = [(0, size, 1) for size in shape]
    for place in range(leading, len(begin)):
        first = None if _mask(node, "begin_mask") >> place & 1 else int(begin[place])
        last = None if _mask(node, "end_mask") >> place & 1 else int(end[place])
        axis = place - len(begin)  # from the last
        found[axis] = slice(first, last, int(strides[place])).indices(shape[axis])
    (start, stop, stride), others = found[-1], found[:-1]
    if stride != 1 or start >= stop or others != [(0, size, 1) for size in shape[:-1]]:
        return None
    return start, stop


def _mask(node: Node, key: str) -> int:
    return int(node.attr[key].i) if key in node.attr else 0


def _shape(graph: Graph, context: Context, ref: Ref) -> Sequence[int]:
    """The static shape of a variable's value or a tensor of the original graph; () where it is not known."""
    variable = graph.variable(ref)
    if variable is not None:
        shape = variable_shape(graph, variable)
        return () if min(shape, default=0) < 0 else shape
    if ref[0] not in context.original:
        return ()
    found = context.imported.get_tensor_by_name(full_name(ref)).shape
    return found.as_list() if found.is_fully_defined() else ()


def _origin(graph: Graph, ref: Ref) -> Any:
    enter = entered(graph, ref)
    return graph.variable(ref) or unchanged(graph, ref if enter is None else enter.inputs[0])
