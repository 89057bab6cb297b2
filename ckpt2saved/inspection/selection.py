"""Choose the outputs to propose, and the decisions that are left to the user."""

from __future__ import annotations

from typing import List, Mapping, Sequence, Tuple

from ckpt2saved.checkpoint.contents import AVERAGE
from ckpt2saved.errors.problem import Choice
from ckpt2saved.graph.names import Ref, parsed
from ckpt2saved.inspection.decoders import Decoder
from ckpt2saved.inspection.outputs import Output
from ckpt2saved.inspection.proposal import value_text
from ckpt2saved.inspection.towers import Tower
from ckpt2saved.inspection.training import Switch
from ckpt2saved.inspection.training_graph import TrainingGraph
from ckpt2saved.inspection.variables import Fit

_HEADS = ("probabilities", "boxes", "scores")


def choose_outputs(
    ranked: Sequence[Output],
    decoders: Sequence[Decoder],
    of_losses: Sequence[Output],
    shares: Mapping[str, str],
    first: Sequence[str],
) -> Tuple[List[Output], List[Choice]]:
    """The outputs to propose, and the choices between decoders."""
    by_tensor = {output.tensor: output for output in ranked}
    mine = [d for d in decoders if d.logits in first and set(d.paths[0] + (d.logits,)) <= set(by_tensor)]
    if mine:
        beams = [decoder for decoder in mine if "Beam" in decoder.op] or mine
        decoder = beams[0]
        names = list(decoder.paths[0]) + list(decoder.dense[:1]) + [decoder.logits]
        if "Greedy" in decoder.op:
            names.append(decoder.log_probability)
        texts = [o.tensor for o in ranked if o.kind == "text" and o.tensor in first]
        choices = [
            Choice("--output", other.paths[0], f"{other.node} ({other.paths[0][1]})", "another decoder")
            for other in mine
            if other is not decoder
        ]
        return [by_tensor[name] for name in names + texts if name in by_tensor], choices
    from_losses = [o for o in of_losses if o.tensor in first and o.tensor in by_tensor]
    if from_losses:
        beside = [o for o in ranked if o.tensor == shares.get(from_losses[0].tensor)]
        return _decoded_in_functions(ranked, decoders, first) + from_losses[:1] + beside, []
    heads = [o for o in ranked if o.tensor in first and o.kind in _HEADS + ("text",)]
    heads = _decoded_in_functions(ranked, decoders, first) + heads
    return heads or [o for o in ranked if o.tensor in first and o.kind in ("classes", "values")][:1], []


def _decoded_in_functions(ranked: Sequence[Output], decoders: Sequence[Decoder], first: Sequence[str]) -> List[Output]:
    """Outputs of decoders inside functions, if the graph has no other decoder."""
    return [] if decoders else [o for o in ranked if o.kind == "decoded" and o.tensor in first]


def is_as_good(first: Tower, second: Tower) -> bool:
    """Whether only the user can decide between two towers; not if both have the same weights."""
    return first.rank == second.rank and first.weights != second.weights


def outputs_of_first_tower(training: TrainingGraph, candidates: Sequence[Output], towers: Sequence[Tower]) -> List[str]:
    """The tensor names of the candidates that belong to the best tower."""
    if len(towers) < 2:
        return [output.tensor for output in candidates]
    nodes = [training.graph.upstream(map(parsed, tower.ends)) & training.weighted for tower in towers]
    found: List[str] = []
    for output in candidates:
        own = training.graph.upstream([output.ref]) & training.weighted
        if max(range(len(towers)), key=lambda number: (len(own & nodes[number]), -number)) == 0:
            found.append(output.tensor)
    return found


def choice_of_value(switch: Switch) -> Choice:
    """The choice of a value for a training switch that the graph does not decide."""
    hint = "" if switch.guess is None else f"; by its name {value_text(switch.guess)}"
    return Choice("--set", (f"{switch.name}=…",), switch.reason + hint)


def choice_of_weights(training: TrainingGraph, outputs: Sequence[Ref], fit: Fit) -> List[Choice]:
    """The choice between weights and moving averages, if there are averages and the graph does not read them itself."""
    needed = training.weights_of(outputs)
    averaged = [name for name in fit.averaged if name in needed]
    if not averaged or any(name.endswith(AVERAGE) for name in needed):
        return []
    return [Choice("--weights", ("ema", "raw"), f"{len(averaged)} of the weights have a moving average")]
