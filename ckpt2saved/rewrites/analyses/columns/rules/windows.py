"""Convolutions, pools and paddings."""

from __future__ import annotations

from dataclasses import replace
from typing import Tuple

import numpy as np

from ckpt2saved.graph.ops import data_format
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.rewrites.analyses.axes import LINES, has_lines, is_of_batch, widths_in
from ckpt2saved.rewrites.analyses.columns.registry import rule
from ckpt2saved.rewrites.analyses.columns.values import (
    LOWEST,
    ZEROS,
    Averaged,
    Filled,
    Shifted,
    Step,
    Unprovable,
    Value,
)
from ckpt2saved.rewrites.analyses.widths import SAME, VALID, Window

_CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative")
_POOLS = ("MaxPool", "MaxPoolV2", "AvgPool")


@rule(*_CONVOLUTIONS, *_POOLS)
def _window(step: Step) -> Value:
    node, value = step.node, step.inputs[0]
    if data_format(step.node) != "NHWC" or value.axes is None or len(value.axes) != 4:
        raise Unprovable("it does not have the axes [batch, height, width, channels]")
    if any(other.is_data for other in step.inputs[1:]):
        raise Unprovable("its kernel depends on the lines")
    static = step.outputs[0] or ((),) * 4
    width = value.width
    if any(has_lines([axis]) for axis in value.axes[1:]) or is_of_batch(value.axes[3]):
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


@rule("Pad", "PadV2", "MirrorPad")
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
        if not is_of_batch(value.axes[axis]):
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
