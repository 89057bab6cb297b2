"""Cells and layers of recurrent networks, reversals of time, and CTC decoders."""

from __future__ import annotations

from dataclasses import replace
from typing import List

import numpy as np

from ckpt2saved.graph.ops import CTC_DECODERS
from ckpt2saved.rewrites.analyses.axes import LINES, is_of_batch
from ckpt2saved.rewrites.analyses.columns.registry import rule
from ckpt2saved.rewrites.analyses.columns.sizes import steps_reached
from ckpt2saved.rewrites.analyses.columns.values import Reversed, Step, Unprovable, Value


@rule("LSTMBlockCell", "GRUBlockCell", "GRUBlockCellV2")
def _cell(step: Step) -> List[Value]:
    lines = [value.axes[0] for value in step.inputs if value.is_data and value.axes]
    if set(lines) != {(LINES,)}:
        raise Unprovable("its first axis is not the batch")
    return [Value(axes=((LINES,), *(axes or ())[1:])) for axes in step.outputs]


@rule("BlockLSTM", "BlockLSTMV2")
def _block_lstm(step: Step) -> List[Value]:
    steps, sequence = step.inputs[:2]
    width, reaching = sequence.width, steps_reached(steps)
    if width is None or sequence.axes is None or sequence.axes[:2] != ((width,), (LINES,)):
        raise Unprovable("its axes are not [time, batch, depth]")
    if reaching is None or not step.compare(reaching, width):
        raise Unprovable("it may end before the last column of a line")
    return [Value(axes=(*sequence.axes[:2], *(axes or ())[2:])) for axes in step.outputs]


@rule("ReverseV2")
def _reverse(step: Step) -> Value:
    value = step.data
    axes = value.axes
    reduced = np.ravel(step.constant(1)).tolist()
    over = [axis % len(axes) for axis in reduced] if axes else []
    if axes is None or not any(is_of_batch(axes[axis]) for axis in over):
        return replace(value, steps=None)
    width, lines = value.width, value.axis_of(LINES)
    if width is None or len(over) != 1 or axes[over[0]] != (width,) or lines is None:
        raise Unprovable("it reverses lines, or columns with something else")
    step.need(Reversed(step.node.name, width, lines, over[0]))
    return Value(axes=axes, is_positive=value.is_positive)


@rule("ReverseSequence")
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


@rule(*CTC_DECODERS)
def _decoder(step: Step) -> Value:
    logits, lengths = step.inputs
    width = logits.width
    if width is None or logits.axes is None or logits.axes[:2] != ((width,), (LINES,)):
        raise Unprovable("its logits are not [time, batch, classes]")
    if lengths.steps is None or not step.compare(lengths.steps, width):
        raise Unprovable("its sequence lengths are not those of the lines")
    return Value(is_decoded=True)
