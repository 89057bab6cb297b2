"""Fill, Tile, BroadcastTo and Range: tensors of a shape that the batch decides."""

from __future__ import annotations

from typing import List, Union

from ckpt2saved.rewrites.analyses.axes import LINES, Axes, Size, is_of_batch
from ckpt2saved.rewrites.analyses.columns.registry import rule
from ckpt2saved.rewrites.analyses.columns.sizes import axes_of, steps_reached, without_lines
from ckpt2saved.rewrites.analyses.columns.values import Counted, Step, Unprovable, Value
from ckpt2saved.rewrites.analyses.widths import OwnWidth


def _counted(step: Step, value: Value, axes: Axes) -> Value:
    """A vector with the same number for each line: the own widths, where that is the width of the batch."""
    width = steps_reached(value) if value.is_of_sizes else None
    if axes == ((LINES,),) and isinstance(width, OwnWidth) and value.numbers is not None:
        step.need(Counted((step.node.name, 0), width))
        return Value(axes=axes, steps=width)
    return Value(axes=axes, is_of_sizes=value.is_of_sizes, is_blank=value.is_blank, is_zero_behind=value.is_blank)


@rule("Fill")
def _fill(step: Step) -> Value:
    return _counted(step, step.inputs[1], axes_of(step.inputs[0].numbers))


@rule("Tile", "BroadcastTo")
def _tile(step: Step) -> Union[Value, List[Value]]:
    value, numbers = step.inputs[0], step.inputs[1].numbers
    if numbers is None or value.axes is None:
        if value.is_data or step.inputs[1].is_of_sizes:
            raise Unprovable("its shape is not known")
        return without_lines(step)
    axes = axes_of(numbers)
    if step.node.op == "Tile":
        both = zip(value.axes, axes)
        if any(Size.of(axis) != Size(1) and Size.of(times) != Size(1) and is_of_batch(axis) for axis, times in both):
            raise Unprovable("it repeats the columns or the lines")
        axes = tuple(
            axis
            if Size.of(times) == Size(1)
            else times
            if Size.of(axis) == Size(1)
            else (step.outputs[0] or axes)[place]
            for place, (axis, times) in enumerate(zip(value.axes, axes))
        )
    if not value.is_data:
        return _counted(step, value, axes)
    return Value(axes=axes, is_zero_behind=value.is_zero_behind, is_blank=value.is_blank)


@rule("Range")
def _range(step: Step) -> Union[Value, List[Value]]:
    """The numbers of the columns, which are the same where a line is alone."""
    start, limit, delta = step.inputs
    if start.numbers == (Size(0),) and delta.numbers == (Size(1),) and limit.numbers is not None:
        width = limit.numbers[0].width
        if width is not None:
            return Value(axes=((width,),))
    return without_lines(step)
