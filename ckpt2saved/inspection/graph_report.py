"""Find what can be served from a training's graph: inputs, outputs, training switches, and a proposal."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Callable, List, Optional, Sequence, Tuple

from ckpt2saved.errors.problem import Choice, Note, Problem
from ckpt2saved.graph.meta_graph import MetaGraph
from ckpt2saved.graph.names import Ref, full_name, parsed
from ckpt2saved.graph.ops import PLACEHOLDERS, TABLES
from ckpt2saved.inspection.acceptance import find_acceptance
from ckpt2saved.inspection.decoders import Decoder, ctc_outputs, find_ctc_logits, find_decoders, loss_output
from ckpt2saved.inspection.heads import find_heads
from ckpt2saved.inspection.inputs import Input, find_inputs
from ckpt2saved.inspection.outputs import Output
from ckpt2saved.inspection.probabilities import shares_of
from ckpt2saved.inspection.proposal import Proposal, propose
from ckpt2saved.inspection.refusals import (
    forcing_notes,
    graph_notes,
    label_problems,
    serving_problems,
    unknown_layers,
)
from ckpt2saved.inspection.selection import (
    choice_of_value,
    choice_of_weights,
    choose_outputs,
    is_as_good,
    outputs_of_first_tower,
)
from ckpt2saved.inspection.towers import Tower, find_towers, shared_variables
from ckpt2saved.inspection.training import Switch, TrainingOps, find_switches, find_training_ops, steer
from ckpt2saved.inspection.training_graph import TrainingGraph
from ckpt2saved.inspection.variables import Fit
from ckpt2saved.rewrites.to_inference import Steering

# The kinds of outputs, the likeliest first.
_RANKS = (
    "decoder",
    "dense",
    "text",
    "logits",
    "probabilities",
    "boxes",
    "scores",
    "classes",
    "score",
    "decoded",
    "values",
)


@dataclass(frozen=True)
class GraphReport:
    """The inputs, outputs, training switches, problems and proposal of a training's graph."""

    tensorflow: str  # the version that wrote the graph
    nodes: int
    inputs: Tuple[Input, ...]  # for the proposed outputs, or for all outputs if none is proposed
    outputs: Tuple[Output, ...]  # the likeliest first
    decoders: Tuple[Decoder, ...]
    switches: Tuple[Switch, ...]
    training_ops: TrainingOps
    towers: Tuple[Tower, ...]  # the best to serve first; empty for a single tower
    shared: Tuple[str, ...]  # variables that all towers use
    tables: Tuple[str, ...]
    left_out: Tuple[str, ...]  # Python functions that follow the outputs
    labels: Tuple[str, ...]  # tensors that only the loss needs
    proposal: Optional[Proposal]
    problems: Tuple[Problem, ...]
    notes: Tuple[Note, ...]  # what export changes by itself, or cannot change

    @property
    def served(self) -> List[str]:
        """The proposed output tensors; without a proposal the three likeliest."""
        if self.proposal:
            return [spec.tensor for spec in self.proposal.outputs]
        return [output.tensor for output in self.outputs[:3]]


def report_graph(meta_graph: MetaGraph, training: TrainingGraph, fit: Fit) -> GraphReport:
    """Find the inputs and outputs of a graph that can be served, and the problems that prevent it."""
    decoders = find_decoders(training)
    logits = find_ctc_logits(training)
    of_decoders = {d.node: ctc_outputs(training, d) for d in decoders}
    decoded = {d.logits for d in decoders}
    of_losses = [loss_output(training, ref, loss) for ref, loss in logits.items() if full_name(ref) not in decoded]
    found_shares = [(o.tensor, shares_of(training, o.ref)) for o in of_losses]
    shares = {name: output for name, output in found_shares if output}
    from_losses = of_losses + list(shares.values())
    known = [o.ref for found in of_decoders.values() for o in found] + [o.ref for o in from_losses]
    heads = find_heads(training, known)
    candidates = [o for found in of_decoders.values() for o in found] + from_losses + heads
    candidates = list({o.tensor: o for o in reversed(candidates)}.values())[::-1]
    of_ctc = list(dict.fromkeys([parsed(d.logits) for d in decoders] + [o.ref for o in of_losses]))
    of_heads = [head.ref for head in heads if head.kind != "decoded"]
    towers = find_towers(training, of_ctc or of_heads, fit.missing, apart=bool(of_ctc))
    first = outputs_of_first_tower(training, candidates, towers)
    ranked = sorted(candidates, key=lambda o: (o.tensor not in first, _RANKS.index(o.kind)))
    of_shares = {name: o.tensor for name, o in shares.items()}
    while True:
        chosen, choices = choose_outputs(ranked, decoders, of_losses, of_shares, first)
        outputs = [output.ref for output in chosen] or [output.ref for output in ranked]
        inputs, steering = _inputs_and_steering(training, outputs, fit)
        # Outputs on a branch that does not run in inference are known only when the switches are.
        if not any(output.tensor in steering.lost for output in ranked):
            break
        ranked = [output for output in ranked if output.tensor not in steering.lost]
    given = [one.ref for one in inputs]
    reached = training.graph.upstream(outputs, given, controls=True)
    switches = find_switches(training, steering, reached, given)
    choices += [choice_of_value(switch) for switch in switches if switch.is_open]
    if len(towers) > 1 and is_as_good(towers[0], towers[1]):
        ends = tuple(towers[1].ends[:3])
        choices.append(Choice("--output", ends, f"{', '.join(ends)} instead", "another tower"))
    choices += choice_of_weights(training, outputs, fit)
    proposal: Optional[Proposal] = None
    refused: Tuple[Problem, ...] = ()
    if chosen and inputs and not steering.labels:
        proposed = functools.partial(propose, training, inputs, chosen, switches, choices)
        proposal, refused = _accepted(proposed, steering, fit)
    ranked = sorted(ranked, key=lambda o: o.tensor not in [c.tensor for c in chosen])
    return GraphReport(
        tensorflow=meta_graph.tensorflow,
        nodes=len(training.graph.nodes),
        inputs=tuple(inputs),
        outputs=tuple(ranked),
        decoders=tuple(decoders),
        switches=tuple(switches),
        training_ops=find_training_ops(training, reached),
        towers=tuple(towers) if len(towers) > 1 else (),
        shared=tuple(shared_variables(towers)) if len(towers) > 1 else (),
        tables=tuple(sorted(n for n in reached if training.graph[n].op in TABLES)),
        left_out=tuple(f"{node.name} ({node.op})" for node in training.blocked if node.name not in reached),
        labels=tuple(t.name for t in training.labels if training.graph.users(t.ref)),
        proposal=proposal,
        problems=tuple(
            serving_problems(meta_graph, training, outputs, inputs, switches)
            + unknown_layers(training)
            + label_problems(training, chosen, steering.labels)
        )
        + (steering.problems if proposal else ())
        + refused,
        notes=tuple(graph_notes(meta_graph, proposal, reached) + forcing_notes(training, chosen)),
    )


def _inputs_and_steering(training: TrainingGraph, outputs: Sequence[Ref], fit: Fit) -> Tuple[List[Input], Steering]:
    """The inputs, and the values that export gives to training switches; a scalar placeholder may be one of these."""
    placeholders = [t.ref for t in training.primary if training.graph.maker(t.ref).op in PLACEHOLDERS]
    if training.switches_makers and len(placeholders) > 1:  # some may belong to a branch that runs only in training
        training.leave_out(steer(training, outputs, placeholders, fit.shapes).unused)
    inputs = find_inputs(training, outputs)
    data = [one for one in inputs if not _may_be_switch(training, one)]
    steering = steer(training, outputs, [one.ref for one in data], fit.shapes)
    brought = [one for one in inputs if one in data or one.ref[0] not in steering.decided]
    if len(brought) > len(data):
        steering = steer(training, outputs, [one.ref for one in brought], fit.shapes)
    return [one for one in brought if one.tensor not in steering.unused], steering


def _accepted(proposed: Callable[..., Proposal], steering: Steering, fit: Fit) -> Tuple[Proposal, Tuple[Problem, ...]]:
    """The proposal with the batch size that `export` accepts, and the problems that it would still report."""
    proposal = proposed()
    found = find_acceptance(proposal, steering.graph_def, fit.shapes)
    if found.batch is not None:
        proposal = proposed(held=(found.batch, found.node))
        found = find_acceptance(proposal, steering.graph_def, fit.shapes)
    return proposal, () if steering.problems else found.problems


def _may_be_switch(training: TrainingGraph, one: Input) -> bool:
    return one.kind == "other" and not one.shape and training.graph.maker(one.ref).op in PLACEHOLDERS
