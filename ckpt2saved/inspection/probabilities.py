"""Class probabilities, also behind the logarithm that a loss takes of them."""

from __future__ import annotations

from typing import Optional

from ckpt2saved.graph.dataflow import Node
from ckpt2saved.inspection.network import Network
from ckpt2saved.inspection.outputs import Output, output_of
from ckpt2saved.inspection.views import VIEWS, key_of, representative, root_of

PROBABILITIES = ("Softmax", "LogSoftmax", "Sigmoid")
_CLIPS = ("Maximum", "Minimum", "ClipByValue", "Add", "AddV2")


def shares_of(network: Network, logits: str) -> Optional[Output]:
    """The probabilities whose logarithm these logits are, as Keras's CTC loss takes it; its users know those."""
    maker = network.flow.maker(root_of(network, logits))
    if maker.op != "Log":
        return None
    tensor = before_clipping(network, maker.inputs[0])
    maker = network.flow.maker(tensor)
    while maker.op in VIEWS + ("Slice", "StridedSlice"):
        tensor = maker.inputs[0]
        maker = network.flow.maker(tensor)
    written_out = maker.op == "RealDiv" and network.flow.maker(maker.inputs[0]).op == "Exp"
    if maker.op not in PROBABILITIES and not written_out:
        return None
    tensor = representative(network, tensor).name
    reason = f"class probabilities ({maker.op}); the loss takes their logarithm"
    return output_of(network, key_of(tensor, "probabilities"), tensor, "probabilities", reason)


def before_clipping(network: Network, tensor: str) -> str:
    """What was kept away from 0, and made to add up to 1, before its logarithm was taken."""
    node = network.flow.maker(tensor)
    while node.op in _CLIPS or (node.op == "RealDiv" and _is_share(network, node)):
        tensor = node.inputs[0]
        node = network.flow.maker(tensor)
    return tensor


def _is_share(network: Network, node: Node) -> bool:
    """Whether numbers are divided by their sum, unless that makes the probabilities themselves (of exponentials)."""
    total = network.flow.maker(node.inputs[1])
    return total.op == "Sum" and total.inputs[:1] == node.inputs[:1] and network.flow.maker(node.inputs[0]).op != "Exp"
