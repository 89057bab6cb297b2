"""The CTC decoders and losses of a graph, and what of them could be served."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Tuple

from ckpt2saved.graph.graph import Node
from ckpt2saved.graph.names import Ref, full_name, parsed
from ckpt2saved.graph.ops import CTC_DECODERS, CTC_LOSSES
from ckpt2saved.inspection.outputs import Output, output_of
from ckpt2saved.inspection.training_graph import TrainingGraph, settings_of


@dataclass(frozen=True)
class Decoder:
    """A CTC decoder of the graph."""

    node: str
    op: str
    logits: str
    sequence_length: str
    settings: Mapping[str, Any]
    paths: Tuple[Tuple[str, str, str], ...]  # indices, values and shape of each
    log_probability: str
    dense: Tuple[str, ...]  # the same labels as a padded matrix


def find_decoders(training: TrainingGraph) -> List[Decoder]:
    """Every CTC decoder of the forward pass."""
    nodes = [n for n in training.graph.nodes.values() if n.op in CTC_DECODERS and _is_served(training, n)]
    # One that is fed with logits by hand, to try things out, is of no training.
    of_weights = [n for n in nodes if training.graph.upstream(n.inputs[:1]) & training.weighted]
    # Nor can a server decode what labels were read for.
    return [_decoder(training, n) for n in of_weights or nodes if n.inputs[0][0] not in training.forced]


def _is_served(training: TrainingGraph, node: Node) -> bool:
    """Whether what a node takes and makes is of the forward pass, and can be asked for."""
    return node.name not in training.backward and not training.is_in_loop((node.name, 0))


def _decoder(training: TrainingGraph, node: Node) -> Decoder:
    names = [output.name for output in training.outputs(node)]
    count = (len(names) - 1) // 3
    paths = tuple((names[n], names[count + n], names[2 * count + n]) for n in range(count))
    dense = [
        full_name((other.name, 0))
        for other in training.graph.nodes.values()
        if other.op == "SparseToDense" and (node.name, 0) in other.inputs[:1] and other.name not in training.tainted
    ]
    return Decoder(
        node=node.name,
        op=node.op,
        logits=full_name(node.inputs[0]),
        sequence_length=full_name(node.inputs[1]),
        settings=settings_of(node),
        paths=paths,
        log_probability=names[-1],
        dense=tuple(dense),
    )


def find_ctc_logits(training: TrainingGraph) -> Dict[Ref, Node]:
    """The logits of each CTC loss, with the loss."""
    losses = [n for n in training.graph.nodes.values() if n.op in CTC_LOSSES and _is_served(training, n)]
    found: Dict[Ref, Node] = {}
    for loss in losses:
        if loss.inputs[0][0] in training.pure:
            found.setdefault(loss.inputs[0], loss)
    return found


def ctc_outputs(training: TrainingGraph, decoder: Decoder) -> List[Output]:
    """The labels of a decoder, as the original system's clients know them, its dense form, and the logits."""
    settings = ", ".join(f"{name} {_text(value)}" for name, value in sorted(decoder.settings.items()))
    reason = f"CTC {'beam search' if 'Beam' in decoder.op else 'greedy decoding'}, {settings}"
    found: List[Tuple[str, str, str, str]] = []
    for number, path in enumerate(decoder.paths):
        suffix, which = ("", "its") if number == 0 else (f"_{number}", f"path {number + 1}'s")
        whys = [reason + ": indices" if number == 0 else which + " indices", which + " values", which + " shape"]
        keys = ("output_indices", "output_values", "output_shape")
        found += [(key + suffix, tensor, "decoder", why) for key, tensor, why in zip(keys, path, whys)]
    found += [("output_dense", name, "dense", "its labels as a matrix") for name in decoder.dense]
    what = "log-probability of each path" if "Beam" in decoder.op else "negative sum of the best logits"
    found.append(("score", decoder.log_probability, "score", what))
    found.append(("logits", decoder.logits, "logits", "what it decodes: [time, batch, classes]"))
    return [output_of(training, key, parsed(tensor), kind, why) for key, tensor, kind, why in found]


def loss_output(training: TrainingGraph, logits: Ref, loss: Node) -> Output:
    """The logits of a CTC loss, where no decoder reads them."""
    reason = f"what {loss.name} reads, [time, batch, classes]; the graph has no decoder for it"
    return output_of(training, "logits", logits, "logits", reason)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
