"""The CTC beam searches of a graph: which outputs depend on them, and how long TensorFlow's op takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterable, List, Sequence, Tuple

import numpy as np

from ckpt2saved.graph.ops import BEAM_SEARCH
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.graph.traversal import walk

# Seconds that the op takes for a class of a beam of a step: 9e-7 to 1.4e-6 measured on TensorFlow 1.14 and 2.21.
SECONDS_PER_CLASS = 1e-6
QUICK = 2.5  # seconds by this estimate; shorter searches are run as they are


@dataclass(frozen=True)
class BeamSearch:
    """A CTCBeamSearchDecoder node: its settings, and the tensors that it reads and makes."""

    name: str
    beam_width: int
    top_paths: int
    merge_repeated: bool
    logits: str  # float [time, batch, classes]
    lengths: str  # int32 [batch]
    outputs: Tuple[str, ...]  # indices, values and shape of each path, in that order of kinds; log-probability

    def work(self, classes: int, lengths: np.ndarray) -> float:
        """The number of (beam, class) pairs that the op examines: the first step has one beam, others `beam_width`."""
        steps = np.maximum(np.asarray(lengths, np.float64), 0)
        return float(np.sum(np.minimum(steps, 1) + self.beam_width * np.maximum(steps - 1, 0)) * classes)


def find_searches(graph: tf.Graph, tensors: Iterable[str]) -> Tuple[BeamSearch, ...]:
    """The beam searches that these tensors depend on, sorted by name.

    Searches inside loops, whose inputs can't be fetched, and those in the function library are left out.
    """
    found = [op for op in _upstream(graph, tensors) if op.type == BEAM_SEARCH]
    fetchable = [op for op in found if all(graph.is_fetchable(tensor) for tensor in op.inputs)]
    return tuple(sorted((_described(op) for op in fetchable), key=lambda search: search.name))


def searches_behind(graph: tf.Graph, tensor: str, searches: Sequence[BeamSearch]) -> Tuple[BeamSearch, ...]:
    """Those of `searches` that a tensor depends on."""
    names = {op.name for op in _upstream(graph, [tensor])}
    return tuple(search for search in searches if search.name in names)


def _described(op: tf.Operation) -> BeamSearch:
    logits, lengths = [tensor.name for tensor in op.inputs]
    return BeamSearch(
        name=op.name,
        beam_width=op.get_attr("beam_width"),
        top_paths=op.get_attr("top_paths"),
        merge_repeated=op.get_attr("merge_repeated"),
        logits=logits,
        lengths=lengths,
        outputs=tuple(tensor.name for tensor in op.outputs),
    )


def _upstream(graph: tf.Graph, tensors: Iterable[str]) -> List[tf.Operation]:
    """The operations that TensorFlow runs to compute tensors of its own graph."""

    def following(name: str) -> List[str]:
        op = graph.get_operation_by_name(name)
        return [tensor.op.name for tensor in op.inputs] + [control.name for control in op.control_inputs]

    starts = [graph.get_tensor_by_name(name).op.name for name in tensors]
    return [graph.get_operation_by_name(name) for name in walk(starts, following)]
