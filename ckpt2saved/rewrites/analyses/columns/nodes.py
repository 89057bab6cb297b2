"""What several rules ask about a node."""

from __future__ import annotations

from ckpt2saved.rewrites.analyses.columns.values import Step
from ckpt2saved.tf1 import tf


def is_of_loop(step: Step) -> bool:
    """Whether a Switch belongs to a loop and not to a condition."""
    return step.graph[step.graph.root(step.node.inputs[1])[0]].op == "LoopCond"


def data_format(step: Step) -> str:
    """Its attribute of that name, or what TensorFlow takes without it."""
    return tf.compat.as_text(step.node.attr["data_format"].s) if "data_format" in step.node.attr else "NHWC"
