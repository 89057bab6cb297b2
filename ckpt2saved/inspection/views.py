"""Views: tensors with the same values in another shape; which of them to show to people."""

from __future__ import annotations

import re
from typing import List, Sequence

from ckpt2saved.graph.graph import Tensor
from ckpt2saved.graph.names import Ref
from ckpt2saved.graph.traversal import last, walk
from ckpt2saved.inspection.training_graph import TrainingGraph

VIEWS = (
    "Cast",
    "Reshape",
    "Transpose",
    "Squeeze",
    "ExpandDims",
    "Identity",
    "StopGradient",
    "PreventGradient",
    "CheckNumerics",
)
_GENERIC = re.compile(
    r"(Placeholder|PlaceholderWithDefault|IteratorGetNext|Cast|Reshape|Squeeze|ExpandDims|transpose|Transpose|Softmax|"
    r"Sigmoid|ArgMax|[Ss]plit|SparseToDense|SparseTensorDense|MatMul|BiasAdd|[Aa]dd|Identity|Merge|concat|shuffle_batch|batch|"
    r"Conv2D|Conv|convolution|Tensordot|LogSoftmax|sub|mul|truediv|Sub|Mul|input|cond|fifo_queue_Dequeue|Exit|while|strided_slice)(V2)?(_[0-9]+)?\Z"
)


def first_input(training: TrainingGraph, ref: Ref, ops: Sequence[str]) -> Ref:
    """Follow the first inputs of nodes with these ops, back from a tensor."""
    graph = training.graph
    return last(ref, lambda one: graph.maker(one).inputs if graph.maker(one).op in ops else [])


def root_of(training: TrainingGraph, ref: Ref) -> Ref:
    """The tensor that this one is a view of."""
    return first_input(training, ref, VIEWS)


def views_of(training: TrainingGraph, root: Ref) -> List[Ref]:
    """A tensor and all views of it that depend on no label."""

    def following(ref: Ref) -> List[Ref]:
        views = [n for n in training.graph.users(ref) if n.op in VIEWS and n.inputs[0] == ref]
        return [(node.name, 0) for node in views if node.name in training.pure]

    return list(walk([root], following))


def representative(training: TrainingGraph, root: Ref) -> Tensor:
    """The best view of a tensor for clients: not flattened, and named by the author if possible."""
    scope = root[0].rpartition("/")[0]
    views = [training.graph.tensor(ref) for ref in views_of(training, root)]
    best = max(tensor.rank or 0 for tensor in views)
    widest = [tensor for tensor in views if (tensor.rank or 0) == best]
    named = [t for t in widest + [view for view in views if (view.rank or 0) > 2] if _is_named(training, t)]
    inside = [t for t in widest if scope and t.name.startswith(scope + "/")]
    return (named or inside[-1:] or widest)[0]


def also_as(training: TrainingGraph, ref: Ref) -> str:
    """A text with other names that the author gave to the same values."""
    views = [training.graph.tensor(one) for one in views_of(training, root_of(training, ref))]
    others = [t.name for t in views if t.ref != ref and (t.rank or 0) > 2 and _is_named(training, t)]
    return f"; in another shape also {' and '.join(others[:3])}" if others else ""


def _is_named(training: TrainingGraph, tensor: Tensor) -> bool:
    """Whether the author named it; TensorFlow names tensors after their op."""
    name = tensor.ref[0].rpartition("/")[2]
    return not _GENERIC.match(name) and re.sub(r"_[0-9]+\Z", "", name) != training.graph.maker(tensor.ref).op


def key_of(ref: Ref, fallback: str) -> str:
    """The key for clients: the last part of the tensor's name that its author chose."""
    for part in reversed(ref[0].split("/")):
        if not _GENERIC.match(part):
            return re.sub(r"[^0-9A-Za-z_]", "_", part)
    return fallback
