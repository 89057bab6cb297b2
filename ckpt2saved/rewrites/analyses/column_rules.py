"""What each kind of op does to the columns of the lines in a padded batch: one rule for each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np

from ckpt2saved.graph.graph import Graph
from ckpt2saved.graph.names import Ref
from ckpt2saved.graph.ops import (
    CTC_DECODERS,
    ENTERS,
    EXITS,
    FUSED_BATCH_NORMS,
    IDENTITIES,
    ITERATIONS,
    MERGES,
    PASSING,
    SELECTS,
    SIZES,
    SWITCHES,
    is_training,
)
from ckpt2saved.graph.probe import ELEMENTWISE, reduction_axes
from ckpt2saved.rewrites.analyses.axes import LINES, Axes, Axis, Size, broadcast, has_lines, reshaped, widths_in
from ckpt2saved.rewrites.analyses.columns import (
    LOWEST,
    ZEROS,
    Averaged,
    Counted,
    Filled,
    NotYet,
    Reversed,
    Shifted,
    Step,
    Steps,
    Unprovable,
    Value,
)
from ckpt2saved.rewrites.analyses.widths import SAME, VALID, OwnWidth, Window
from ckpt2saved.tf1 import tf

Rule = Callable[[Step], Union[Value, List[Value]]]
_RULES: Dict[str, Rule] = {}

# Element by element; those that make 0 of 0, and those that make nothing less than 0 of anything.
_ZERO_OF_ZERO = (
    *("Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Tanh", "Softsign", "Neg", "Abs", "Square", "Sqrt", "Sign", "Sin"),
    *("Floor", "Ceil", "Round", "Rint", "Expm1", "Log1p", "Asinh", "Erf", "ZerosLike", *PASSING, *EXITS, *ITERATIONS),
)
_POSITIVE = ("Relu", "Relu6", "Sigmoid", "Abs", "Square", "Sqrt", "Exp", "Softplus", "OnesLike", "SquaredDifference")
_POSITIVE_OF_POSITIVE = ("Add", "AddV2", "AddN", "Mul", "Maximum", "RealDiv", *PASSING, *EXITS, *ITERATIONS)
_ELEMENTWISE = (
    *(
        *ELEMENTWISE,
        *SELECTS,
        *_ZERO_OF_ZERO,
        *_POSITIVE,
        "Cast",
        "AddN",
        "BiasAdd",
        "BiasAddV1",
        "Cos",
        "Atan",
        "Erfc",
    ),
    *("FloorDiv", "FloorMod", "Mod", "TruncateDiv", "LogicalOr", "ClipByValue", "IsNan", "IsInf", "IsFinite", "Xdivy"),
    *("BatchNormWithGlobalNormalization", "Xlogy", "MulNoNan", "Softplus", "Atan2", "Log"),
)
_QUOTIENTS = ("RealDiv", "Div", "FloorDiv", "TruncateDiv", "FloorMod", "Mod", "Pow", "Xdivy", "Atan2")
_UNBOUNDED = ("Reciprocal", "Inv", "Log", "Log1p", "Sqrt", "Rsqrt", "Exp", "Expm1", "Xlogy")
_SAME_PLACE = ("Softmax", "LogSoftmax", "LRN")  # they mix the elements of the last axis alone
_REDUCTIONS = ("Mean", "Sum", "Max", "Min", "Prod", "All", "Any", "EuclideanNorm")
_CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative")
_POOLS = ("MaxPool", "MaxPoolV2", "AvgPool")
_LONGEST = 16  # numbers of a constant that may be a shape


def evaluate(step: Step) -> Union[Value, List[Value]]:
    """The value of a node's outputs, one for all where they are alike; raises Unprovable with the reason."""
    op, inputs = step.node.op, step.inputs
    if op in SIZES:
        return _sizes(step)
    if any(value.is_decoded for value in inputs):
        return _lost(step, Value(is_decoded=True))
    rule = _RULES.get(op)
    try:
        if op not in _MADE and not any(value.is_data for value in inputs):
            return _without_lines(step)
        if rule is None:
            raise Unprovable("the width of lines is not followed through this op")
        return _lost(step, _marked(step, rule(step)))
    except Unprovable:
        lost = _lost(step, Value())  # one reason is enough: that of the op before
        if lost == Value():
            raise
        return lost


def _lost(step: Step, found: Union[Value, List[Value]]) -> Union[Value, List[Value]]:
    """The values, with the node behind which an answer may depend on other lines."""
    places = [value.lost_at for value in step.inputs if value.lost_at]
    if not places and not step.lost:
        return found
    place = places[0] if places else step.node.name
    if places:
        del step.lost[:]
    if isinstance(found, list):
        return [replace(value, lost_at=place) for value in found]
    return replace(found, lost_at=place)


def _marked(step: Step, found: Union[Value, List[Value]]) -> Union[Value, List[Value]]:
    """The values, with what may be infinite in them."""
    # Of a quotient the divisor counts: that of a norm's root is made of weights.
    divisors = step.inputs[1:] if step.node.op in _QUOTIENTS else step.inputs if step.node.op in _UNBOUNDED else []
    is_masked = any(isinstance(need, Filled) and need.node == step.node.name for need in step.found.needs)
    came = any(value.may_be_infinite for value in step.inputs) and not is_masked
    if not came and not any(value.is_data for value in divisors):
        return found
    # 0 times what is not a number is no number either.
    if isinstance(found, list):
        return [replace(value, may_be_infinite=True, is_zero_behind=False) for value in found]
    return replace(found, may_be_infinite=True, is_zero_behind=False)


def _rule(*ops: str) -> Callable[[Rule], Rule]:
    def registered(rule: Rule) -> Rule:
        _RULES.update(dict.fromkeys(ops, rule))
        return rule

    return registered


# Numbers that are made of sizes and constants.


def _sizes(step: Step) -> List[Value]:
    """Shape, ShapeN, Size and Rank."""
    values = []
    for number, value in enumerate(step.inputs):
        axes = value.axes if value.series is None else None
        if step.node.op == "Rank" and axes is not None:
            values.append(_number(step, (Size(len(axes)),), number))
        elif axes is None or step.node.op == "Rank":
            values.append(Value(axes=step.outputs[number], is_of_sizes=value.is_data))
        else:
            sizes = tuple(Size.of(axis) for axis in axes)
            if step.node.op == "Size":
                sizes = (_product(sizes),)
            values.append(_number(step, sizes, number))
    return values


def _number(step: Step, numbers: Optional[Tuple[Size, ...]], output: int = 0, is_of_sizes: bool = False) -> Value:
    if numbers is not None:
        axes = [(factor,) for size in numbers for factor in size.symbols]
        is_of_sizes = has_lines(axes) or bool(widths_in(axes))
    return Value(axes=step.outputs[output], numbers=numbers, is_of_sizes=is_of_sizes)


def _product(sizes: Sequence[Size]) -> Size:
    product = Size(1)
    for size in sizes:
        product = product.times(size)
    return product


def _without_lines(step: Step) -> Union[Value, List[Value]]:
    """What is made of weights, constants and sizes alone."""
    if step.node.op in SWITCHES and _is_of_loop(step):  # how often a loop runs is not in its variables
        return step.inputs[0]
    is_of_sizes = any(value.is_of_sizes for value in step.inputs)
    first = _number(step, _numbers(step), 0, is_of_sizes)
    if first.axes is None and step.node.op in (*_ELEMENTWISE, *MERGES):  # shape functions give up at loops
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
    found = [_reaching(value) for value in step.inputs]
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


def _reaching(value: Value) -> Any:
    if value.at_least is not None or value.numbers is None or len(value.numbers) != 1:
        return value.at_least
    return value.numbers[0].width


# Tensors of a shape that the batch decides.


def _axes_of(numbers: Optional[Sequence[Size]]) -> Axes:
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


def _counted(step: Step, value: Value, axes: Axes) -> Value:
    """A vector with the same number for each line: the own widths, where that is the width of the batch."""
    width = _reaching(value) if value.is_of_sizes else None
    if axes == ((LINES,),) and isinstance(width, OwnWidth) and value.numbers is not None:
        step.need(Counted((step.node.name, 0), width))
        return Value(axes=axes, steps=width)
    return Value(axes=axes, is_of_sizes=value.is_of_sizes, is_blank=value.is_blank, is_zero_behind=value.is_blank)


@_rule("Fill")
def _fill(step: Step) -> Value:
    return _counted(step, step.inputs[1], _axes_of(step.inputs[0].numbers))


@_rule("Tile", "BroadcastTo")
def _tile(step: Step) -> Union[Value, List[Value]]:
    value, numbers = step.inputs[0], step.inputs[1].numbers
    if numbers is None or value.axes is None:
        if value.is_data or step.inputs[1].is_of_sizes:
            raise Unprovable("its shape is not known")
        return _without_lines(step)
    axes = _axes_of(numbers)
    if step.node.op == "Tile":
        both = zip(value.axes, axes)
        if any(Size.of(axis) != Size(1) and Size.of(times) != Size(1) and _is_of_batch(axis) for axis, times in both):
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


def _is_of_batch(axis: Axis) -> bool:
    return has_lines([axis]) or bool(widths_in([axis]))


@_rule("Range")
def _range(step: Step) -> Union[Value, List[Value]]:
    """The numbers of the columns, which are the same where a line is alone."""
    start, limit, delta = step.inputs
    if start.numbers == (Size(0),) and delta.numbers == (Size(1),) and limit.numbers is not None:
        width = limit.numbers[0].width
        if width is not None:
            return Value(axes=((width,),))
    return _without_lines(step)


# Element by element.


@_rule(*_ELEMENTWISE)
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
    zero = op in _ZERO_OF_ZERO or op in (
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
        is_positive=op in _POSITIVE or (op in _POSITIVE_OF_POSITIVE and all(value.is_positive for value in inputs)),
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


@_rule(*_SAME_PLACE)
def _same_place(step: Step) -> Value:
    axes = step.data.axes
    if axes is None or _is_of_batch(axes[-1]):
        step.lose("it normalises over the width")
    return Value(axes=axes, is_positive=step.node.op == "Softmax")


@_rule(*FUSED_BATCH_NORMS)
def _fused_batch_norm(step: Step) -> List[Value]:
    if is_training(step.node):
        step.lose("it normalises over the batch")
    axes = step.data.axes
    if not axes or _is_of_batch(axes[-1]) or _format(step) != "NHWC":
        raise Unprovable("it does not have the channels last")
    return [Value(axes=axes), *(Value(axes=other) for other in step.outputs[1:])]


def _format(step: Step) -> str:
    return tf.compat.as_text(step.node.attr["data_format"].s) if "data_format" in step.node.attr else "NHWC"


# Windows.


@_rule(*_CONVOLUTIONS, *_POOLS)
def _window(step: Step) -> Value:
    node, value = step.node, step.inputs[0]
    if _format(step) != "NHWC" or value.axes is None or len(value.axes) != 4:
        raise Unprovable("it does not have the axes [batch, height, width, channels]")
    if any(other.is_data for other in step.inputs[1:]):
        raise Unprovable("its kernel depends on the lines")
    static = step.outputs[0] or ((),) * 4
    width = value.width
    if any(has_lines([axis]) for axis in value.axes[1:]) or _is_of_batch(value.axes[3]):
        raise Unprovable("it mixes lines")
    columns = value.axis_of(width)
    if width is None or columns not in (1, 2):
        if width is not None and widths_in(value.axes[1:]):
            raise Unprovable("it mixes columns with something else")
        return Value(axes=(value.axes[0], *static[1:]))
    windows = _windows(step)
    window = windows[columns - 1]
    fill = LOWEST if node.op in ("MaxPool", "MaxPoolV2") and not value.is_positive else ZEROS
    before = window.all_before(width, step.multiple)
    if len(before) > 1 or window.sees_padding:
        lines = value.axis_of(LINES)
        if lines != 0:
            raise Unprovable("its first axis is not the batch")
        if fill == LOWEST or not value.is_zero_behind:
            step.need(_filled(step, value, fill, columns))
        if len(before) > 1:
            if node.op == "AvgPool":
                step.lose("where its windows begin depends on the width of the batch")
            else:
                step.need(
                    Shifted(node=node.name, fill=fill, width=width, columns=columns, before=before, windows=windows)
                )
        if node.op == "AvgPool":
            step.need(Averaged(node.name, width, columns))
    after = window.after(width).among(step.multiple)
    axes = list(static)
    axes[0], axes[columns] = value.axes[0], (after,)
    is_zero = window.reach == 1 and value.is_zero_behind
    return Value(axes=tuple(axes), is_zero_behind=is_zero, is_positive=value.is_positive and node.op in _POOLS)


def _filled(step: Step, value: Value, fill: str, columns: int) -> Filled:
    """The first input with another content behind the ends of the lines."""
    lines, width = value.axis_of(LINES), value.width
    assert lines is not None and width is not None
    return Filled(
        node=step.node.name,
        position=0,
        fill=fill,
        width=width,
        lines=lines,
        columns=columns,
        rank=len(value.axes or ()),
        may_be_infinite=value.may_be_infinite,
    )


def _windows(step: Step) -> Tuple[Window, Window]:
    """The windows along the height and the width."""
    node, attr = step.node, step.node.attr
    if node.op == "MaxPoolV2":
        sizes, strides = [[int(one) for one in step.constant(position)] for position in (1, 2)]
    else:
        strides = list(attr["strides"].list.i)
        sizes = list(attr["ksize"].list.i) if node.op in _POOLS else [1, *_kernel(step), 1]
    dilations = list(attr["dilations"].list.i) if "dilations" in attr else []
    dilations = dilations if len(dilations) == 4 else [1] * 4
    if sizes[0] != 1 or strides[0] != 1:
        raise Unprovable("its window has several lines")
    padding = tf.compat.as_text(attr["padding"].s)
    explicit = list(attr["explicit_paddings"].list.i) if padding == "EXPLICIT" else [0] * 8
    one, two = [
        Window(
            size=sizes[axis],
            stride=strides[axis],
            dilation=dilations[axis],
            padding=SAME if padding == SAME else VALID,
            explicit=(explicit[2 * axis], explicit[2 * axis + 1]),
        )
        for axis in (1, 2)
    ]
    return one, two


def _kernel(step: Step) -> Tuple[int, int]:
    axes = step.inputs[1].axes
    sizes = [axis[0] for axis in axes[:2]] if axes and len(axes) == 4 else []
    if len(sizes) != 2 or not all(isinstance(size, int) for size in sizes):
        raise Unprovable("the size of its kernel is not known")
    return sizes[0], sizes[1]  # type: ignore[return-value]


@_rule("Pad", "PadV2", "MirrorPad")
def _pad(step: Step) -> Value:
    value = step.data
    paddings = np.asarray(step.constant(1)).tolist()
    static = step.outputs[0]
    if value.axes is None or static is None or len(paddings) != len(value.axes):
        raise Unprovable("its shape is not known")
    axes = list(value.axes)
    for axis, (before, after) in enumerate(paddings):
        if not before and not after:
            continue
        if not _is_of_batch(value.axes[axis]):
            axes[axis] = static[axis]
            continue
        width, lines = value.width, value.axis_of(LINES)
        if width is None or value.axes[axis] != (width,) or lines is None or step.node.op == "MirrorPad":
            raise Unprovable("what it puts behind the end of a line depends on the width of the batch")
        if step.node.op == "PadV2" and np.any(step.constant(2)):
            raise Unprovable("it pads with something else than 0")
        if not value.is_zero_behind:
            step.need(_filled(step, value, ZEROS, axis))
        axes[axis] = (width.then(before + after).among(step.multiple),)
        value = replace(value, is_zero_behind=True)
    return Value(axes=tuple(axes), is_zero_behind=value.is_zero_behind and step.node.op == "Pad")


# Products with weights.


@_rule("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")
def _product_with_weights(step: Step) -> Value:
    one, other = step.inputs
    if other.is_data or other.is_of_sizes or one.axes is None:
        raise Unprovable("it multiplies columns with each other, as attention does")
    flipped = step.is_true("transpose_a") or step.is_true("adj_x")
    if flipped or _is_of_batch(one.axes[-1]):
        raise Unprovable("it adds up columns or lines")
    if other.axes is None or len(other.axes) > 2:
        raise Unprovable("its weights are more than a matrix")
    static = step.outputs[0]
    last = other.axes[0 if step.is_true("transpose_b") or step.is_true("adj_y") else -1]
    last = static[-1] if static else last
    return Value(axes=(*one.axes[:-1], last), is_zero_behind=one.is_zero_behind)


@_rule("LSTMBlockCell", "GRUBlockCell", "GRUBlockCellV2")
def _cell(step: Step) -> List[Value]:
    lines = [value.axes[0] for value in step.inputs if value.is_data and value.axes]
    if set(lines) != {(LINES,)}:
        raise Unprovable("its first axis is not the batch")
    return [Value(axes=((LINES,), *(axes or ())[1:])) for axes in step.outputs]


@_rule("BlockLSTM", "BlockLSTMV2")
def _block_lstm(step: Step) -> List[Value]:
    steps, sequence = step.inputs[:2]
    width, reaching = sequence.width, _reaching(steps)
    if width is None or sequence.axes is None or sequence.axes[:2] != ((width,), (LINES,)):
        raise Unprovable("its axes are not [time, batch, depth]")
    if reaching is None or not step.compare(reaching, width):
        raise Unprovable("it may end before the last column of a line")
    return [Value(axes=(*sequence.axes[:2], *(axes or ())[2:])) for axes in step.outputs]


# Axes that are moved, joined and cut.


@_rule("Reshape")
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


@_rule("Transpose")
def _transpose(step: Step) -> Value:
    value = step.data
    if value.axes is None:
        raise Unprovable("its shape is not known")
    return replace(value, axes=tuple(value.axes[int(axis)] for axis in step.constant(1)))


@_rule("ExpandDims")
def _expand_dims(step: Step) -> Value:
    value, axis = step.data, int(np.ravel(step.constant(1))[0])
    axes = list(value.axes or ())
    axes.insert(axis if axis >= 0 else len(axes) + 1 + axis, (1,))
    return replace(value, axes=tuple(axes), steps=None)


@_rule("Squeeze")
def _squeeze(step: Step) -> Value:
    value, dims = step.data, list(step.node.attr["squeeze_dims"].list.i)
    axes = value.axes or ()
    if not dims:
        static = step.outputs[0]
        dims = [number for number, axis in enumerate(axes) if axis == (1,)]
        if static is None or len(static) != len(axes) - len(dims):
            raise Unprovable("which axes it takes away depends on the batch")
    gone = {dim % len(axes) for dim in dims}
    if any(_is_of_batch(axes[dim]) for dim in gone):
        raise Unprovable("it takes away the axis of the columns or the lines")
    left = tuple(axis for number, axis in enumerate(axes) if number not in gone)
    return replace(value, axes=left)


@_rule("ConcatV2")
def _concat(step: Step) -> Value:
    axis = int(np.ravel(step.constant(-1))[0])
    parts = step.inputs[:-1]
    if any(value.axes is None or value.is_of_sizes for value in parts):
        raise Unprovable("the shape of an input is not known, or what it joins depends on the batch")
    rank = len(parts[0].axes or ())
    axis %= rank
    if any(_is_of_batch((value.axes or ())[axis]) for value in parts):
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


@_rule("Pack")
def _pack(step: Step) -> Value:
    axes = broadcast([value.axes or () for value in step.inputs])
    if axes is None or any(value.axes is None or value.is_of_sizes for value in step.inputs):
        raise Unprovable("its inputs differ in the widths of their lines")
    axis = step.node.attr["axis"].i % (len(axes) + 1)
    return Value(axes=(*axes[:axis], (len(step.inputs),), *axes[axis:]))


@_rule("Unpack")
def _unpack(step: Step) -> Value:
    axes = step.data.axes or ()
    axis = step.node.attr["axis"].i % max(len(axes), 1)
    if not axes or _is_of_batch(axes[axis]):
        raise Unprovable("it takes columns or lines apart")
    return Value(axes=(*axes[:axis], *axes[axis + 1 :]), is_zero_behind=step.data.is_zero_behind)


@_rule("Split", "SplitV")
def _split(step: Step) -> List[Value]:
    value = step.data
    axes = value.axes or ()
    axis = int(np.ravel(step.constant(0 if step.node.op == "Split" else 2))[0]) % max(len(axes), 1)
    if not axes or _is_of_batch(axes[axis]):
        raise Unprovable("it takes columns or lines apart")
    parts = [(*axes[:axis], static[axis] if static else (), *axes[axis + 1 :]) for static in step.outputs]
    return [Value(axes=part, is_zero_behind=value.is_zero_behind, is_positive=value.is_positive) for part in parts]


@_rule("Gather", "GatherV2")
def _gather(step: Step) -> Value:
    value, axes = step.inputs[0], step.inputs[0].axes
    if not value.is_data or step.inputs[1].is_data or axes is None:
        raise Unprovable("it looks up columns or lines")
    axis = int(np.ravel(step.constant(2))[0]) % len(axes) if step.node.op == "GatherV2" else 0
    if _is_of_batch(axes[axis]) or step.inputs[1].axes is None:
        raise Unprovable("it looks up columns or lines")
    return Value(axes=(*axes[:axis], *step.inputs[1].axes, *axes[axis + 1 :]))


@_rule("StridedSlice")
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
                if _is_of_batch(axis):
                    raise Unprovable("it takes one column or line")
            elif not _is_of_batch(axis) and len(axes) < len(static):
                axes.append(static[len(axes)])
            else:
                axes.append(_sliced(axis, begin, end, int(strides[place])))
    is_whole = all(_is_of_batch(axis) for axis in axes) and tuple(axes) == value.axes
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


@_rule("Slice")
def _slice(step: Step) -> Value:
    value, sizes = step.data, step.inputs[2].numbers
    begins = np.ravel(step.constant(1)).tolist()
    if value.axes is None or sizes is None or step.outputs[0] is None:
        raise Unprovable("its shape is not known")
    axes: List[Axis] = []
    for number, axis in enumerate(value.axes):
        is_rest = sizes[number] in (Size(-1), Size.of(axis))
        if not _is_of_batch(axis):
            axes.append(axis if is_rest and not begins[number] else step.outputs[0][number])
        elif is_rest and (begins[number] == 0 or sizes[number] == Size(-1)):
            axes.append(_sliced(axis, int(begins[number]), None, 1))
        else:
            raise Unprovable("which columns or lines it takes depends on the batch")
    return Value(axes=tuple(axes))


@_rule(*_REDUCTIONS, "ArgMax", "ArgMin")
def _reduction(step: Step) -> Value:
    value = step.data
    axes = value.axes
    reduced = reduction_axes(step.graph, step.node.name)
    if axes is None or reduced is None:
        raise Unprovable("which axes it reduces is not known")
    gone = {axis % len(axes) for axis in reduced} if axes else set()
    over = [axes[axis] for axis in gone if _is_of_batch(axes[axis])]
    if value.steps is not None and step.node.op == "Max":
        return Value(axes=(), is_of_sizes=True, at_least=value.steps)
    if over and value.steps is not None:
        return Value(axes=(), is_of_sizes=True)
    if over and not (value.is_blank and step.node.op == "Sum"):
        step.lose("it reduces the columns of a padded batch" if widths_in(over) else "it mixes lines")
    keeps = step.is_true("keep_dims")
    left = [(1,) if place in gone else axis for place, axis in enumerate(axes) if keeps or place not in gone]
    return Value(
        axes=tuple(left),
        is_zero_behind=value.is_zero_behind and step.node.op != "All",
        is_positive=value.is_positive,
        is_blank=value.is_blank and step.node.op == "Sum",
    )


# Time.


@_rule("ReverseV2")
def _reverse(step: Step) -> Value:
    value = step.data
    axes = value.axes
    reduced = np.ravel(step.constant(1)).tolist()
    over = [axis % len(axes) for axis in reduced] if axes else []
    if axes is None or not any(_is_of_batch(axes[axis]) for axis in over):
        return replace(value, steps=None)
    width, lines = value.width, value.axis_of(LINES)
    if width is None or len(over) != 1 or axes[over[0]] != (width,) or lines is None:
        raise Unprovable("it reverses lines, or columns with something else")
    step.need(Reversed(step.node.name, width, lines, over[0]))
    return Value(axes=axes, is_positive=value.is_positive)


@_rule("ReverseSequence")
def _reverse_sequence(step: Step) -> Value:
    value, lengths = step.inputs
    axes, attr = value.axes, step.node.attr
    time, lines = attr["seq_dim"].i, attr["batch_dim"].i
    width = value.width
    if axes is None or width is None or axes[time] != (width,) or axes[lines] != (LINES,):
        raise Unprovable("its sequences are not the columns of the lines")
    if lengths.steps is None or not step.compare(lengths.steps, width):
        raise Unprovable("its lengths are not those of the lines")
    return replace(value, steps=None)


@_rule(*CTC_DECODERS)
def _decoder(step: Step) -> Value:
    logits, lengths = step.inputs
    width = logits.width
    if width is None or logits.axes is None or logits.axes[:2] != ((width,), (LINES,)):
        raise Unprovable("its logits are not [time, batch, classes]")
    if lengths.steps is None or not step.compare(lengths.steps, width):
        raise Unprovable("its sequence lengths are not those of the lines")
    return Value(is_decoded=True)


@_rule(*SWITCHES)
def _switch(step: Step) -> Value:
    value, condition = step.inputs[0], step.inputs[-1]
    if len(step.inputs) < 2:
        return value
    if not _is_of_loop(step):
        if condition.is_data or condition.is_of_sizes:
            raise Unprovable("its condition depends on the batch")
    elif value.series is not None:
        widths = widths_in([value.series])
        if widths and (condition.at_least is None or not step.compare(condition.at_least, widths[0])):
            raise Unprovable("its loop may end before the last column of a line")
    return value


def _is_of_loop(step: Step) -> bool:
    """Whether a Switch belongs to a loop and not to a condition."""
    return step.graph[step.graph.root(step.node.inputs[1])[0]].op == "LoopCond"


@_rule(*MERGES)
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


@_rule(*EXITS)
def _exit(step: Step) -> Value:
    """A state after the last step is that after the padding; a series has its items at the steps."""
    value = step.inputs[0]
    if value.series is None:
        raise Unprovable("it is what a loop leaves after the last column of the batch")
    return value


@_rule("TensorArrayV3", "TensorListReserve")
def _series(step: Step) -> List[Value]:
    sizes = step.inputs[1 if step.node.op == "TensorListReserve" else 0]
    axes = () if sizes.numbers is None else _axes_of(sizes.numbers)
    if len(axes) != 1:
        return [Value(axes=static, is_of_sizes=sizes.is_of_sizes) for static in step.outputs]
    return [Value(series=axes[0]) for _ in step.outputs]


@_rule("TensorArrayScatterV3")
def _scatter(step: Step) -> Value:
    return _as_series(step.inputs[2])


@_rule("TensorListFromTensor")
def _list_of(step: Step) -> Value:
    return _as_series(step.inputs[0])


def _as_series(value: Value) -> Value:
    if not value.axes:
        raise Unprovable("the shape of its input is not known")
    if has_lines(value.axes[:1]) or (_is_of_batch(value.axes[0]) and len(value.axes[0]) > 1):
        raise Unprovable("it takes the lines apart, or columns with something else")
    return Value(series=value.axes[0], axes=value.axes[1:])


@_rule("TensorArrayReadV3", "TensorListGetItem")
def _read(step: Step) -> Value:
    series = step.inputs[2 if step.node.op == "TensorArrayReadV3" else 0]
    _check_counter(step, 1)
    if series.series is None:
        raise Unprovable("what it reads is not known")
    if series.axes is None:
        raise NotYet
    return Value(axes=series.axes)


@_rule("TensorArrayWriteV3", "TensorListSetItem")
def _write(step: Step) -> Value:
    series = step.inputs[3 if step.node.op == "TensorArrayWriteV3" else 0]
    _check_counter(step, 1)
    if series.series is None:
        raise Unprovable("where it writes is not known")
    item = step.inputs[2]
    if series.axes is not None and series.axes != item.axes:
        raise Unprovable("it writes items of different shapes")
    if item.is_of_sizes:
        raise Unprovable("what it writes depends on the width of the batch")
    return replace(series, axes=item.axes)


@_rule("TensorArrayGatherV3", "TensorListStack")
def _stack(step: Step) -> Value:
    series = step.inputs[2 if step.node.op == "TensorArrayGatherV3" else 0]
    if series.series is None:
        raise Unprovable("what it reads is not known")
    if series.axes is None:
        raise NotYet
    if step.node.op == "TensorArrayGatherV3" and not _is_whole_range(step.graph, step.node.inputs[1]):
        raise Unprovable("it does not read all items in order")
    return Value(axes=(series.series, *series.axes))


@_rule("TensorArraySizeV3", "TensorListLength")
def _length(step: Step) -> Value:
    series = step.inputs[-1]
    if series.series is None:
        raise Unprovable("the number of items is not known")
    return _number(step, (Size.of(series.series),))


def _is_whole_range(graph: Graph, ref: Ref) -> bool:
    source = graph[graph.root(ref)[0]]
    start = graph.constant(source.inputs[0]) if source.op == "Range" else None
    return start is not None and int(start) == 0


def _check_counter(step: Step, position: int) -> None:
    if not _is_counter(step.graph, step.node.inputs[position]):
        raise Unprovable("its items are not in the order of the steps")


def _is_counter(graph: Graph, ref: Ref) -> bool:
    """Whether a tensor is the number of a loop's iteration, from 0 on."""
    merge = _loop_variable(graph, ref)
    if merge is None:
        return False
    starts = [one for one in merge.inputs if graph[one[0]].op in ENTERS]
    nexts = [one for one in merge.inputs if graph[one[0]].op in ITERATIONS]
    if len(starts) != 1 or len(nexts) != 1:
        return False
    start = graph.constant(starts[0])
    added = graph[graph[nexts[0][0]].inputs[0][0]]
    while added.op in IDENTITIES:
        added = graph[added.inputs[0][0]]
    if start is None or start.ndim or int(start) != 0 or added.op not in ("Add", "AddV2"):
        return False
    one = graph.constant(added.inputs[1])
    return one is not None and int(one) == 1 and _loop_variable(graph, added.inputs[0]) is merge


def _loop_variable(graph: Graph, ref: Ref) -> Any:
    """The Merge that a tensor inside of a loop is the value of."""
    for _ in range(20):
        node = graph[ref[0]]
        if node.op in MERGES:
            return node
        if node.op not in IDENTITIES + SWITCHES:
            return None
        ref = node.inputs[0]
    return None


# Made from sizes, and for each line.
_MADE = ("Fill", "Tile", "BroadcastTo", "Range", "TensorArrayV3", "TensorListReserve")
