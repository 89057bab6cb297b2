"""Numbers that are made of sizes and constants, and what is made of no lines at all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np

from ckpt2saved.graph.ops import MERGES, PASSING, SWITCHES
from ckpt2saved.rewrites.analyses.axes import Axes, Axis, Size, broadcast, has_lines, widths_in
from ckpt2saved.rewrites.analyses.columns.kinds import ELEMENTWISE
from ckpt2saved.rewrites.analyses.columns.values import Step, Unprovable, Value
from ckpt2saved.rewrites.analyses.widths import OwnWidth

_LONGEST = 16  # numbers of a constant that may be a shape


def sizes_of(step: Step) -> List[Value]:
    """Shape, ShapeN, Size and Rank."""
    values = []
    for number, value in enumerate(step.inputs):
        axes = value.axes if value.series is None else None
        if step.node.op == "Rank" and axes is not None:
            values.append(value_of_numbers(step, (Size(len(axes)),), number))
        elif axes is None or step.node.op == "Rank":
            values.append(Value(axes=step.outputs[number], is_of_sizes=value.is_data))
        else:
            sizes = tuple(Size.of(axis) for axis in axes)
            if step.node.op == "Size":
                sizes = (_product(sizes),)
            values.append(value_of_numbers(step, sizes, number))
    return values


def value_of_numbers(
    step: Step, numbers: Optional[Tuple[Size, ...]], output: int = 0, is_of_sizes: bool = False
) -> Value:
    """An output that is made of these numbers, None where they are not followed."""
    if numbers is not None:
        axes = [(factor,) for size in numbers for factor in size.symbols]
        is_of_sizes = has_lines(axes) or bool(widths_in(axes))
    return Value(axes=step.outputs[output], numbers=numbers, is_of_sizes=is_of_sizes)


def _product(sizes: Sequence[Size]) -> Size:
    product = Size(1)
    for size in sizes:
        product = product.times(size)
    return product


def without_lines(step: Step) -> Union[Value, List[Value]]:
    """What is made of weights, constants and sizes alone."""
    if step.node.op in SWITCHES and step.is_of_loop:  # how often a loop runs is not in its variables
        return step.inputs[0]
    is_of_sizes = any(value.is_of_sizes for value in step.inputs)
    first = value_of_numbers(step, _numbers(step), 0, is_of_sizes)
    if first.axes is None and step.node.op in (*ELEMENTWISE, *MERGES):  # shape functions give up at loops
        known = [value.axes for value in step.inputs if value.axes is not None]
        first = replace(first, axes=broadcast(known) if len(known) == len(step.inputs) else None)
    at_least = _at_least(step)
    if at_least is not None:
        first = replace(first, at_least=at_least)
    if step.node.op == "Const" and first.axes is not None and not step.node.inputs:
        value = step.graph.constant((step.node.name, 0))
        if value is not None and value.dtype.kind in "fiu" and not np.any(value):
            first = replace(first, is_blank=True, is_zero_behind=True)
    others = [Value(axes=axes, is_of_sizes=is_of_sizes) for axes in step.outputs[1:]]
    return [first, *others]


def _numbers(step: Step) -> Optional[Tuple[Size, ...]]:
    """The numbers of a vector or scalar; None where they are not followed."""
    node = step.node
    if node.op == "Const":
        value = step.graph.constant((node.name, 0))
        if value is None or value.ndim > 1 or value.dtype.kind not in "iu" or value.size > _LONGEST:
            return None
        return tuple(Size(int(one)) for one in np.ravel(value))
    known = [value.numbers for value in step.inputs]
    first = known[0] if known else None
    if first is None:
        return None
    if node.op in PASSING or node.op in ("Cast", "Reshape", "Squeeze", "ExpandDims", "Exit", "NextIteration"):
        return first
    if node.op in MERGES:  # of a loop's variable, once both ends are known
        return first if len(known) > 1 and all(one == first for one in known) else None
    if node.op == "StridedSlice":
        return _sliced_numbers(step)
    if node.op in ("Gather", "GatherV2"):
        places = step.graph.constant(node.inputs[1])
        return None if places is None else tuple(first[int(place)] for place in np.ravel(places))
    joined = known if node.op == "Pack" else known[:-1] if node.op == "ConcatV2" else None
    if joined is not None:
        return None if any(one is None for one in joined) else tuple(size for one in joined for size in one or ())
    if node.op == "Prod":
        return (_product(first),)
    if node.op == "Range":
        bounds = [one[0].number for one in known if one is not None and len(one) == 1 and not one[0].symbols]
        return tuple(map(Size, range(*bounds)))[:_LONGEST] if len(bounds) == 3 and bounds[2] else None
    second = known[1] if len(known) == 2 else None
    if second is not None and len(first) == len(second) == 1:
        computed = _computed(node.op, first[0], second[0])
        return None if computed is None else (computed,)
    return None


def _computed(op: str, one: Size, other: Size) -> Optional[Size]:
    if op == "Mul":
        return one.times(other)
    if op in _ARITHMETIC and not one.symbols and not other.symbols:
        return Size(_ARITHMETIC[op](one.number, other.number))
    width = one.width
    if width is None or other.symbols:
        return None
    if op in ("Add", "AddV2", "Sub"):
        return Size(1, (width.then(-other.number if op == "Sub" else other.number),))
    if op in ("FloorDiv", "Div", "TruncateDiv") and other.number > 0:
        return Size(1, (width.then(0, other.number),))
    return None


_ARITHMETIC: Dict[str, Callable[[int, int], int]] = {
    "Add": lambda x, y: x + y,
    "AddV2": lambda x, y: x + y,
    "Sub": lambda x, y: x - y,
    "Maximum": max,
    "Minimum": min,
    "FloorDiv": lambda x, y: x // y if y else 0,
}


def _sliced_numbers(step: Step) -> Optional[Tuple[Size, ...]]:
    """Some numbers of a vector."""
    known = step.inputs[0].numbers
    bounds = [step.graph.constant(ref) for ref in step.node.inputs[1:4]]
    if known is None or any(bound is None or len(np.ravel(bound)) != 1 for bound in bounds):
        return None
    begin, end, stride = (int(np.ravel(bound)[0]) for bound in bounds)
    attr = step.node.attr
    if attr["shrink_axis_mask"].i & 1:
        return (known[begin],)
    if attr["new_axis_mask"].i or attr["ellipsis_mask"].i:
        return None
    first = None if attr["begin_mask"].i & 1 else begin
    return known[first : None if attr["end_mask"].i & 1 else end : stride]


def _at_least(step: Step) -> Any:
    """The steps that a number is no less than, where a loop runs as often, or a comparison lets it."""
    found = [steps_reached(value) for value in step.inputs]
    op = step.node.op
    if op in PASSING or op in ("Cast", "LoopCond"):
        return found[0] if found else None
    if op == "Maximum":
        return found[0] if found[0] is not None else found[1]
    if op in ("Minimum", "LogicalAnd"):
        # Both must let it: steps that a request brings are compared with the columns of the other.
        if None in found:
            return None
        widths = [one for one in found if isinstance(one, OwnWidth)]
        if widths and not all(step.compare(one, widths[0]) for one in found):
            return None
        return widths[0] if widths else found[0]
    return found[1] if op == "Less" else None


def steps_reached(value: Value) -> Any:
    """The steps that a value is no less than; None where that is not known."""
    if value.at_least is not None or value.numbers is None or len(value.numbers) != 1:
        return value.at_least
    return value.numbers[0].width


def axes_of(numbers: Optional[Sequence[Size]]) -> Axes:
    """The axes of a new tensor."""
    if numbers is None:
        raise Unprovable("its shape is not known")
    axes: List[Axis] = []
    for size in numbers:
        factors = (*(() if size.number == 1 and size.symbols else (size.number,)), *size.symbols)
        if len(factors) > 1:
            raise Unprovable("its shape has a product of sizes")
        axes.append(factors)
    return tuple(axes)
