"""Tensors that show the same numbers in another shape, and which of them people know."""

from __future__ import annotations

import re
from typing import List

from ckpt2saved.graph.dataflow import Tensor
from ckpt2saved.inspection.network import Network

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


def root_of(network: Network, tensor: str) -> str:
    """The tensor that this one is a view of."""
    node = network.flow.maker(tensor)
    while node.op in VIEWS:
        tensor = node.inputs[0]
        node = network.flow.maker(tensor)
    return tensor


def views_of(network: Network, root: str) -> List[str]:
    """A tensor and all views of it that requests alone decide about."""
    found = [root]
    for tensor in found:
        for taker in network.flow.consumers(tensor):
            if taker.op in VIEWS and taker.inputs[0] == tensor and taker.name in network.pure:
                found.append(taker.outputs[0].name)
    return found


def representative(network: Network, root: str) -> Tensor:
    """Of the views of one tensor the one that clients would want: not flattened, and named by the author."""
    scope = root.rpartition("/")[0]
    views = [network.flow.tensor(name) for name in views_of(network, root)]
    best = max(tensor.rank or 0 for tensor in views)
    widest = [tensor for tensor in views if (tensor.rank or 0) == best]
    named = [t for t in widest + [view for view in views if (view.rank or 0) > 2] if _is_named(network, t)]
    inside = [t for t in widest if scope and t.name.startswith(scope + "/")]
    return (named or inside[-1:] or widest)[0]


def also_as(network: Network, tensor: str) -> str:
    """The other names that the author gave to the same numbers."""
    views = [network.flow.tensor(name) for name in views_of(network, root_of(network, tensor))]
    others = [t.name for t in views if t.name != tensor and (t.rank or 0) > 2 and _is_named(network, t)]
    return f"; in another shape also {' and '.join(others[:3])}" if others else ""


def _is_named(network: Network, tensor: Tensor) -> bool:
    """Whether the author named it: not after its op, as TensorFlow does."""
    name = tensor.name.rpartition(":")[0].rpartition("/")[2]
    return not _GENERIC.match(name) and re.sub(r"_[0-9]+\Z", "", name) != network.flow.maker(tensor.name).op


def key_of(tensor: str, fallback: str) -> str:
    """The name for clients: the last part of the tensor's name that its author chose."""
    for part in reversed(tensor.rpartition(":")[0].split("/")):
        if not _GENERIC.match(part):
            return re.sub(r"[^0-9A-Za-z_]", "_", part)
    return fallback
