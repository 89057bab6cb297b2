"""Switches and merges of loops and conditions, and the exits of loops."""

from __future__ import annotations

from ckpt2saved.graph.ops import EXITS, MERGES, SWITCHES
from ckpt2saved.rewrites.analyses.axes import widths_in
from ckpt2saved.rewrites.analyses.columns.registry import rule
from ckpt2saved.rewrites.analyses.columns.values import Step, Unprovable, Value


@rule(*SWITCHES)
def _switch(step: Step) -> Value:
    value, condition = step.inputs[0], step.inputs[-1]
    if len(step.inputs) < 2:
        return value
    if not step.is_of_loop:
        if condition.is_data or condition.is_of_sizes:
            raise Unprovable("its condition depends on the batch")
    elif value.series is not None:
        widths = widths_in([value.series])
        if widths and (condition.at_least is None or not step.compare(condition.at_least, widths[0])):
            raise Unprovable("its loop may end before the last column of a line")
    return value


@rule(*MERGES)
def _merge(step: Step) -> Value:
    """The start of a loop's iteration, or the end of a condition: of either, what holds for both."""
    found = step.inputs
    series = [value for value in found if value.series is not None]
    if series:
        written = [value for value in series if value.axes is not None]
        if len({value.axes for value in written}) > 1:
            raise Unprovable("its loop writes items of different shapes")
        return (written or series)[0]
    if any(value.axes is None or value.axes != found[0].axes for value in found):
        raise Unprovable("its loop changes the shape of a tensor, or the lines in it")
    if any(value.is_of_sizes for value in found):
        raise Unprovable("it depends on the width of the batch")
    return Value(
        axes=found[0].axes,
        is_zero_behind=all(value.is_zero_behind for value in found),
        is_positive=all(value.is_positive for value in found),
        is_blank=all(value.is_blank for value in found),
        steps=found[0].steps if all(value.steps == found[0].steps for value in found) else None,
    )


@rule(*EXITS)
def _exit(step: Step) -> Value:
    """A state after the last step is that after the padding; a series has its items at the steps."""
    value = step.inputs[0]
    if value.series is None:
        raise Unprovable("it is what a loop leaves after the last column of the batch")
    return value
