"""The CTC decoders and CTC losses of a graph, and the outputs that they offer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Tuple, Union

from ckpt2saved.graph.graph import Node
from ckpt2saved.graph.names import Ref, full_name, parsed
from ckpt2saved.graph.ops import BEAM_SEARCH, CTC_DECODERS, CTC_LOSSES
from ckpt2saved.inspection.outputs import Output, output_of
from ckpt2saved.inspection.training_graph import TrainingGraph


@dataclass(frozen=True)
class Decoder:
    """A CTC decoder of the graph."""

    node: str
    op: str
    logits: str
    sequence_length: str
    settings: Mapping[str, Union[int, bool]]
    paths: Tuple[Tuple[str, str, str], ...]  # names of indices, values and shape of each path
    log_probability: str
    dense: Tuple[str, ...]  # names of tensors with the same labels as a padded matrix


def find_decoders(training: TrainingGraph) -> List[Decoder]:
    """All CTC decoders of the forward pass that can be served."""
    nodes = [n for n in training.graph.nodes.values() if n.op in CTC_DECODERS and _is_served(training, n)]
    # A decoder whose logits depend on no weights, such as one fed for a test, is left out if there are others.
    of_weights = [n for n in nodes if training.graph.upstream(n.inputs[:1]) & training.weighted]
    # Logits that are computed from labels cannot be served.
    return [_decoder(training, n) for n in of_weights or nodes if n.inputs[0][0] not in training.forced]


def _is_served(training: TrainingGraph, node: Node) -> bool:
    """Whether a node is in the forward pass and its outputs can be fetched."""
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
        settings=settings_of(node.definition),
        paths=paths,
        log_probability=names[-1],
        dense=tuple(dense),
    )


def find_ctc_logits(training: TrainingGraph) -> Dict[Ref, Node]:
    """The logits of each CTC loss, and the loss node."""
    losses = [n for n in training.graph.nodes.values() if n.op in CTC_LOSSES and _is_served(training, n)]
    found: Dict[Ref, Node] = {}
    for loss in losses:
        if loss.inputs[0][0] in training.pure:
            found.setdefault(loss.inputs[0], loss)
    return found


def ctc_outputs(training: TrainingGraph, decoder: Decoder) -> List[Output]:
    """The outputs of a decoder, under the names of the original system: sparse and dense labels, score, logits."""
    reason = f"CTC {'beam search' if 'Beam' in decoder.op else 'greedy decoding'}, {settings_text(decoder.settings)}"
    found: List[Tuple[str, str, str, str]] = []
    for number, path in enumerate(decoder.paths):
        suffix, which = ("", "its") if number == 0 else (f"_{number}", f"path {number + 1}'s")
        whys = [reason + ": indices" if number == 0 else which + " indices", which + " values", which + " shape"]
        keys = ("output_indices", "output_values", "output_shape")
        found += [(key + suffix, tensor, "decoder", why) for key, tensor, why in zip(keys, path, whys)]
    found += [("output_dense", name, "dense", "its labels as a matrix") for name in decoder.dense]
    what = "log-probability of each path" if "Beam" in decoder.op else "negative sum of the best logits"
    found.append(("score", decoder.log_probability, "score", what))
    found.append(("logits", decoder.logits, "logits", "input of the decoder: [time, batch, classes]"))
    return [output_of(training, key, parsed(tensor), kind, why) for key, tensor, kind, why in found]


def loss_output(training: TrainingGraph, logits: Ref, loss: Node) -> Output:
    """The logits of a CTC loss that no decoder reads."""
    reason = f"input of {loss.name}, [time, batch, classes]; the graph has no decoder for it"
    return output_of(training, "logits", logits, "logits", reason)


def settings_of(node: Any) -> Dict[str, Union[int, bool]]:
    """The attributes of a CTC decoder's NodeDef that change what it decodes."""
    settings: Dict[str, Union[int, bool]] = {"merge_repeated": node.op == BEAM_SEARCH}  # the defaults of the ops
    if "merge_repeated" in node.attr:
        settings["merge_repeated"] = node.attr["merge_repeated"].b
    settings.update({name: node.attr[name].i for name in ("beam_width", "top_paths") if name in node.attr})
    return settings


def settings_text(settings: Mapping[str, Union[int, bool]]) -> str:
    """The settings of a CTC decoder, as in `beam_width 10, merge_repeated false`."""
    return ", ".join(f"{name} {str(value).lower()}" for name, value in sorted(settings.items()))
