"""Ops that compute element by element."""

from __future__ import annotations

from typing import Optional, Sequence

from ckpt2saved.graph.ops import EXITS, ITERATIONS, PASSING, SWITCHES
from ckpt2saved.rewrites.analyses.axes import Axes, broadcast
from ckpt2saved.rewrites.analyses.columns.kinds import ELEMENTWISE, POSITIVE, POSITIVE_OF_POSITIVE, ZERO_OF_ZERO
from ckpt2saved.rewrites.analyses.columns.registry import rule
from ckpt2saved.rewrites.analyses.columns.values import Step, Steps, Unprovable, Value


@rule(*(op for op in ELEMENTWISE if op not in SWITCHES + EXITS))  # loops.py has the rules of those
def _elementwise(step: Step) -> Value:
    op, inputs = step.node.op, [value for value in step.inputs if value.axes is not None or value.series is not None]
    if len(inputs) < len(step.inputs):
        raise Unprovable("the shape of an input is not known")
    if any(value.is_of_sizes for value in inputs):
        step.lose("it computes with the width of the batch, or the number of its lines")
    series = [value for value in inputs if value.series is not None]
    if series:
        if op not in PASSING + EXITS + ITERATIONS:
            raise Unprovable("it computes with a TensorArray")
        return series[0]
    if op in ("BiasAdd", "BiasAddV1"):
        axes: Optional[Axes] = inputs[0].axes
    elif op == "Select" and len(inputs[0].axes or ()) == 1:  # a condition for each element of the first axis
        axes = broadcast([inputs[1].axes or (), inputs[2].axes or ()])
        if axes and inputs[0].axes != axes[:1]:
            axes = None
    else:
        axes = broadcast([value.axes or () for value in inputs])
    if axes is None:
        raise Unprovable("its inputs differ in their shapes, or in the widths of their lines")
    if op in PASSING + EXITS + ITERATIONS:
        return inputs[0]
    behind = [value.is_zero_behind or value.is_blank for value in inputs]
    zero = op in ZERO_OF_ZERO or op in (
        "Add",
        "AddV2",
        "AddN",
        "Sub",
        "Maximum",
        "Minimum",
        "SquaredDifference",
        "Cast",
    )
    return Value(
        axes=axes,
        is_zero_behind=(zero and all(behind)) or (op in ("Mul", "MulNoNan") and any(behind)) or op == "ZerosLike",
        is_positive=op in POSITIVE or (op in POSITIVE_OF_POSITIVE and all(value.is_positive for value in inputs)),
        is_blank=op == "ZerosLike",
        steps=inputs[0].steps if op == "Cast" else _changed_steps(op, inputs),
    )


def _changed_steps(op: str, inputs: Sequence[Value]) -> Optional[Steps]:
    """The steps of lines after arithmetic with a number, as where a graph divides the widths of pictures itself."""
    steps, numbers = inputs[0].steps, inputs[-1].numbers
    if steps is None or len(inputs) != 2 or numbers is None or len(numbers) != 1 or numbers[0].symbols:
        return None
    number = numbers[0].number
    if op in ("FloorDiv", "TruncateDiv", "Div") and number > 0:
        return steps.then(0, number)
    return steps.then(-number if op == "Sub" else number) if op in ("Add", "AddV2", "Sub") else None
