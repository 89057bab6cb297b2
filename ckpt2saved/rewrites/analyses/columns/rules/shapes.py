"""Ops that move, add, take away, join or separate axes."""

from __future__ import annotations

from dataclasses import replace
from typing import List, Optional, Sequence

import numpy as np

from ckpt2saved.rewrites.analyses.axes import LINES, Axes, Size, is_of_batch, reshaped
from ckpt2saved.rewrites.analyses.columns.registry import rule
from ckpt2saved.rewrites.analyses.columns.values import Step, Unprovable, Value


@rule("Reshape")
def _reshape(step: Step) -> Value:
    value, shape = step.inputs[0], step.inputs[1]
    if value.axes is None or shape.is_data:
        raise Unprovable("its shape is not known")
    sizes = _targets(shape.numbers, step.outputs[0])
    axes = None if sizes is None else reshaped(value.axes, sizes, step.fixed)
    if axes is None:
        raise Unprovable("its shape does not keep the columns and the lines apart")
    return replace(value, axes=axes, steps=value.steps if axes == ((LINES,),) else None)


def _targets(numbers: Optional[Sequence[Size]], static: Optional[Axes]) -> Optional[List[Optional[Size]]]:
    """The sizes of a reshape's axes, None for one that is open; None where they are not known."""
    if numbers is None and static is None:
        return None
    given = [Size.of(axis) for axis in static or ()] if numbers is None else list(numbers)
    found: List[Optional[Size]] = []
    for place, size in enumerate(given):
        known = static[place] if static is not None else ()
        if len(known) == 1 and isinstance(known[0], int):
            found.append(Size(known[0]))
        else:
            found.append(None if size.number < 0 or numbers is None else size)
    return found


@rule("Transpose")
def _transpose(step: Step) -> Value:
    value = step.data
    if value.axes is None:
        raise Unprovable("its shape is not known")
    return replace(value, axes=tuple(value.axes[int(axis)] for axis in step.constant(1)))


@rule("ExpandDims")
def _expand_dims(step: Step) -> Value:
    value, axis = step.data, int(np.ravel(step.constant(1))[0])
    axes = list(value.axes or ())
    axes.insert(axis if axis >= 0 else len(axes) + 1 + axis, (1,))
    return replace(value, axes=tuple(axes), steps=None)


@rule("Squeeze")
def _squeeze(step: Step) -> Value:
    value, dims = step.data, list(step.node.attr["squeeze_dims"].list.i)
    axes = value.axes or ()
    if not dims:
        static = step.outputs[0]
        dims = [number for number, axis in enumerate(axes) if axis == (1,)]
        if static is None or len(static) != len(axes) - len(dims):
            raise Unprovable("which axes it takes away depends on the batch")
    gone = {dim % len(axes) for dim in dims}
    if any(is_of_batch(axes[dim]) for dim in gone):
        raise Unprovable("it takes away the axis of the columns or the lines")
    left = tuple(axis for number, axis in enumerate(axes) if number not in gone)
    return replace(value, axes=left)
