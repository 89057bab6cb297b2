"""A tensor of a graph that could be an output of a signature."""

from __future__ import annotations

from dataclasses import dataclass

from ckpt2saved.graph.dataflow import Shape
from ckpt2saved.inspection.network import Network


@dataclass(frozen=True)
class Output:
    """A tensor that could be served, the name that clients could know it by, and why it is likely to be wanted."""

    key: str
    tensor: str
    dtype: str
    shape: Shape
    kind: str  # decoder, dense, score, text, decoded, logits, probabilities, boxes, scores, classes, values
    reason: str


def output_of(network: Network, key: str, name: str, kind: str, reason: str) -> Output:
    """The output that is the tensor called `name`."""
    tensor = network.flow.tensor(name)
    return Output(key=key, tensor=name, dtype=tensor.dtype, shape=tensor.shape, kind=kind, reason=reason)
