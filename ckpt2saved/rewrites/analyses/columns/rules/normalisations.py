"""Softmax, local response normalisation and batch normalisation."""

from __future__ import annotations

from typing import List

from ckpt2saved.graph.ops import FUSED_BATCH_NORMS, data_format, is_training
from ckpt2saved.rewrites.analyses.axes import is_of_batch
from ckpt2saved.rewrites.analyses.columns.registry import rule
from ckpt2saved.rewrites.analyses.columns.values import Step, Unprovable, Value

_SAME_PLACE = ("Softmax", "LogSoftmax", "LRN")  # they mix the elements of the last axis alone


@rule(*_SAME_PLACE)
def _same_place(step: Step) -> Value:
    axes = step.data.axes
    if axes is None or is_of_batch(axes[-1]):
        step.lose("it normalises over the width")
    return Value(axes=axes, is_positive=step.node.op == "Softmax")


@rule(*FUSED_BATCH_NORMS)
def _fused_batch_norm(step: Step) -> List[Value]:
    if is_training(step.node):
        step.lose("it normalises over the batch")
    axes = step.data.axes
    if not axes or is_of_batch(axes[-1]) or data_format(step.node) != "NHWC":
        raise Unprovable("it does not have the channels last")
    return [Value(axes=axes), *(Value(axes=other) for other in step.outputs[1:])]
