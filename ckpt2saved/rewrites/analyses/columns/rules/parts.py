"""Ops that join tensors, or take parts of them."""

from __future__ import annotations

from typing import List, Optional

import numpy as np

from ckpt2saved.rewrites.analyses.axes import Axis, Size, broadcast, is_of_batch
from ckpt2saved.rewrites.analyses.columns.registry import rule
from ckpt2saved.rewrites.analyses.columns.values import Step, Unprovable, Value
from ckpt2saved.rewrites.analyses.widths import OwnWidth


@rule("ConcatV2")
def _concat(step: Step) -> Value:
    axis = int(np.ravel(step.constant(-1))[0])
    parts = step.inputs[:-1]
    if any(value.axes is None or value.is_of_sizes for value in parts):
        raise Unprovable("the shape of an input is not known, or what it joins depends on the batch")
    rank = len(parts[0].axes or ())
    axis %= rank
    if any(is_of_batch((value.axes or ())[axis]) for value in parts):
        raise Unprovable("it joins columns or lines with others")
    rest = broadcast([(*(value.axes or ())[:axis], (1,), *(value.axes or ())[axis + 1 :]) for value in parts])
    if rest is None:
        raise Unprovable("its inputs differ in the widths of their lines")
    static = step.outputs[0]
    axes = (*rest[:axis], static[axis] if static else (), *rest[axis + 1 :])
    return Value(
        axes=axes,
        is_zero_behind=all(value.is_zero_behind for value in parts),
        is_positive=all(value.is_positive for value in parts),
    )


@rule("Pack")
def _pack(step: Step) -> Value:
    axes = broadcast([value.axes or () for value in step.inputs])
    if axes is None or any(value.axes is None or value.is_of_sizes for value in step.inputs):
        raise Unprovable("its inputs differ in the widths of their lines")
    axis = step.node.attr["axis"].i % (len(axes) + 1)
    return Value(axes=(*axes[:axis], (len(step.inputs),), *axes[axis:]))


@rule("Unpack")
def _unpack(step: Step) -> Value:
    axes = step.data.axes or ()
    axis = step.node.attr["axis"].i % max(len(axes), 1)
    if not axes or is_of_batch(axes[axis]):
        raise Unprovable("it takes columns or lines apart")
    return Value(axes=(*axes[:axis], *axes[axis + 1 :]), is_zero_behind=step.data.is_zero_behind)


@rule("Split", "SplitV")
def _split(step: Step) -> List[Value]:
    value = step.data
    axes = value.axes or ()
    axis = int(np.ravel(step.constant(0 if step.node.op == "Split" else 2))[0]) % max(len(axes), 1)
    if not axes or is_of_batch(axes[axis]):
        raise Unprovable("it takes columns or lines apart")
    parts = [(*axes[:axis], static[axis] if static else (), *axes[axis + 1 :]) for static in step.outputs]
    return [Value(axes=part, is_zero_behind=value.is_zero_behind, is_positive=value.is_positive) for part in parts]


@rule("Gather", "GatherV2")
def _gather(step: Step) -> Value:
    value, axes = step.inputs[0], step.inputs[0].axes
    if not value.is_data or step.inputs[1].is_data or axes is None:
        raise Unprovable("it looks up columns or lines")
    axis = int(np.ravel(step.constant(2))[0]) % len(axes) if step.node.op == "GatherV2" else 0
    if is_of_batch(axes[axis]) or step.inputs[1].axes is None:
        raise Unprovable("it looks up columns or lines")
    return Value(axes=(*axes[:axis], *step.inputs[1].axes, *axes[axis + 1 :]))


@rule("StridedSlice")
def _strided_slice(step: Step) -> Value:
    value, attr = step.inputs[0], step.node.attr
    if value.axes is None or not value.is_data:
        raise Unprovable("it is sliced by the lines")
    begins, ends, strides = (np.ravel(step.constant(position)).tolist() for position in (1, 2, 3))
    masks = {
        name: attr[name + "_mask"].i
        for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")
        if name + "_mask" in attr
    }
    given = len(begins)
    new = sum(bool(masks.get("new_axis", 0) >> place & 1) for place in range(given))
    axes: List[Axis] = []
    left = list(value.axes)
    static = list(step.outputs[0] or ())
    for place in range(given):

        def has(name: str, place: int = place) -> bool:
            return bool(masks.get(name, 0) >> place & 1)

        if has("ellipsis"):
            count = len(value.axes) - (given - new - 1)
            axes += left[:count]
            del left[:count]
        elif has("new_axis"):
            axes.append((1,))
        else:
            axis = left.pop(0)
            begin = 0 if has("begin") else int(begins[place])
            end = None if has("end") else int(ends[place])
            if has("shrink_axis"):
                if is_of_batch(axis):
                    raise Unprovable("it takes one column or line")
            elif not is_of_batch(axis) and len(axes) < len(static):
                axes.append(static[len(axes)])
            else:
                axes.append(_sliced(axis, begin, end, int(strides[place])))
    is_whole = all(is_of_batch(axis) for axis in axes) and tuple(axes) == value.axes
    steps = value.steps if is_whole else None
    return Value(axes=(*axes, *left), steps=steps, is_blank=value.is_blank, is_positive=value.is_positive)


def _sliced(axis: Axis, begin: int, end: Optional[int], stride: int) -> Axis:
    """The axis of some columns."""
    if (begin, end, stride) == (0, None, 1):
        return axis
    width = axis[0]
    if len(axis) > 1 or not isinstance(width, OwnWidth) or begin < 0 or stride < 1 or (end is not None and end >= 0):
        raise Unprovable("which columns or lines it takes depends on the batch")
    return (width.then((end or 0) - begin + stride - 1, stride),)


@rule("Slice")
def _slice(step: Step) -> Value:
    value, sizes = step.data, step.inputs[2].numbers
    begins = np.ravel(step.constant(1)).tolist()
    if value.axes is None or sizes is None or step.outputs[0] is None:
        raise Unprovable("its shape is not known")
    axes: List[Axis] = []
    for number, axis in enumerate(value.axes):
        is_rest = sizes[number] in (Size(-1), Size.of(axis))
        if not is_of_batch(axis):
            axes.append(axis if is_rest and not begins[number] else step.outputs[0][number])
        elif is_rest and (begins[number] == 0 or sizes[number] == Size(-1)):
            axes.append(_sliced(axis, int(begins[number]), None, 1))
        else:
            raise Unprovable("which columns or lines it takes depends on the batch")
    return Value(axes=tuple(axes))
