"""Find class probabilities, also if a loss takes their logarithm."""

from __future__ import annotations

from typing import List, Optional

from ckpt2saved.graph.graph import Node
from ckpt2saved.graph.names import Ref
from ckpt2saved.graph.traversal import last
from ckpt2saved.inspection.outputs import Output, output_of
from ckpt2saved.inspection.training_graph import TrainingGraph
from ckpt2saved.inspection.views import VIEWS, first_input, key_of, representative, root_of

PROBABILITIES = ("Softmax", "LogSoftmax", "Sigmoid")
_CLIPS = ("Maximum", "Minimum", "ClipByValue", "Add", "AddV2")


def shares_of(training: TrainingGraph, logits: Ref) -> Optional[Output]:
    """The probabilities whose logarithm these logits are, as in the CTC loss of Keras; None if there are none."""
    maker = training.graph.maker(root_of(training, logits))
    if maker.op != "Log":
        return None
    ref = first_input(training, before_clipping(training, maker.inputs[0]), VIEWS + ("Slice", "StridedSlice"))
    maker = training.graph.maker(ref)
    written_out = maker.op == "RealDiv" and training.graph.maker(maker.inputs[0]).op == "Exp"
    if maker.op not in PROBABILITIES and not written_out:
        return None
    tensor = representative(training, ref)
    reason = f"class probabilities ({maker.op}); the loss takes their logarithm"
    return output_of(training, key_of(tensor.ref, "probabilities"), tensor.ref, "probabilities", reason)


def before_clipping(training: TrainingGraph, ref: Ref) -> Ref:
    """The tensor before clipping and normalisation, which losses apply before they take the logarithm."""

    def clipped(one: Ref) -> List[Ref]:
        node = training.graph.maker(one)
        return node.inputs if node.op in _CLIPS or (node.op == "RealDiv" and _is_share(training, node)) else []

    return last(ref, clipped)


def _is_share(training: TrainingGraph, node: Node) -> bool:
    """Whether a division normalises by the sum; not if the numerators are exponentials, as in a softmax."""
    total = training.graph.maker(node.inputs[1])
    return (
        total.op == "Sum" and total.inputs[:1] == node.inputs[:1] and training.graph.maker(node.inputs[0]).op != "Exp"
    )
