"""A tensor of a graph that can be an output of a signature."""

from __future__ import annotations

from dataclasses import dataclass

from ckpt2saved.graph.graph import Shape
from ckpt2saved.graph.names import Ref, parsed
from ckpt2saved.inspection.training_graph import TrainingGraph


@dataclass(frozen=True)
class Output:
    """A tensor that can be served, its proposed key, and the reason to propose it."""

    key: str
    tensor: str
    dtype: str
    shape: Shape
    kind: str  # decoder, dense, score, text, decoded, logits, probabilities, boxes, scores, classes, values
    reason: str

    @property
    def ref(self) -> Ref:
        """The tensor as the graph knows it."""
        return parsed(self.tensor)


def output_of(training: TrainingGraph, key: str, ref: Ref, kind: str, reason: str) -> Output:
    """The output for a tensor of the graph."""
    tensor = training.graph.tensor(ref)
    return Output(key=key, tensor=tensor.name, dtype=tensor.dtype, shape=tensor.shape, kind=kind, reason=reason)
