"""What a training's graph could serve."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Callable, List, Optional, Sequence, Tuple

from ckpt2saved.errors.problem import Choice, Note, Problem
from ckpt2saved.graph.meta_graph import MetaGraph
from ckpt2saved.graph.ops import PLACEHOLDERS, TABLES
from ckpt2saved.inspection.acceptance import find_acceptance
from ckpt2saved.inspection.decoders import Decoder, ctc_outputs, find_ctc_logits, find_decoders, loss_output
from ckpt2saved.inspection.heads import find_heads
from ckpt2saved.inspection.inputs import Input, find_inputs
from ckpt2saved.inspection.network import Network
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
from ckpt2saved.inspection.variables import Fit
from ckpt2saved.rewrites.to_inference import Steering

# The likeliest first; what a kind lacks here comes last.
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
    """What a training's graph could serve."""

    tensorflow: str  # that wrote it
    nodes: int
    inputs: Tuple[Input, ...]  # for the proposed outputs, or for all where none is proposed
    outputs: Tuple[Output, ...]  # the likeliest first
    decoders: Tuple[Decoder, ...]
    switches: Tuple[Switch, ...]
    training_ops: TrainingOps
    towers: Tuple[Tower, ...]  # the one to serve first
    shared: Tuple[str, ...]  # variables of all towers
    tables: Tuple[str, ...]
    left_out: Tuple[str, ...]  # Python functions behind the outputs
    labels: Tuple[str, ...]  # what only the loss needs
    proposal: Optional[Proposal]
    problems: Tuple[Problem, ...]
    notes: Tuple[Note, ...]  # what the export will see to, or not be able to change

    @property
    def served(self) -> List[str]:
        """The tensors that are proposed to be served, or else the likeliest."""
        if self.proposal:
            return [spec.tensor for spec in self.proposal.outputs]
        return [output.tensor for output in self.outputs[:3]]


def report_graph(meta_graph: MetaGraph, network: Network, fit: Fit) -> GraphReport:
    """Which inputs and outputs of a graph could be served, and what speaks against it."""
    decoders = find_decoders(network)
    logits = find_ctc_logits(network)
    of_decoders = {d.node: ctc_outputs(network, d) for d in decoders}
    decoded = {d.logits for d in decoders}
    of_losses = [loss_output(network, name, loss) for name, loss in logits.items() if name not in decoded]
    found_shares = [(o.tensor, shares_of(network, o.tensor)) for o in of_losses]
    shares = {name: output for name, output in found_shares if output}
    told = of_losses + list(shares.values())
    known = [o.tensor for found in of_decoders.values() for o in found] + [o.tensor for o in told]
    heads = find_heads(network, known)
    candidates = [o for found in of_decoders.values() for o in found] + told + heads
    candidates = list({o.tensor: o for o in reversed(candidates)}.values())[::-1]
    of_ctc = list(dict.fromkeys([d.logits for d in decoders] + [o.tensor for o in of_losses]))
    of_heads = [head.tensor for head in heads if head.kind != "decoded"]
    towers = find_towers(network, of_ctc or of_heads, fit.missing, apart=bool(of_ctc))
    first = outputs_of_first_tower(network, candidates, towers)
    ranked = sorted(candidates, key=lambda o: (o.tensor not in first, _RANKS.index(o.kind)))
    of_shares = {name: o.tensor for name, o in shares.items()}
    while True:
        chosen, choices = choose_outputs(ranked, decoders, of_losses, of_shares, first)
        wanted = [output.tensor for output in chosen] or [output.tensor for output in ranked]
        inputs, steering = _inputs_and_steering(network, wanted, fit)
        # What is on a branch that does not run in inference is known only once its switches are.
        if not any(output.tensor in steering.lost for output in ranked):
            break
        ranked = [output for output in ranked if output.tensor not in steering.lost]
    given = [one.tensor for one in inputs]
    reached = network.flow.upstream(wanted, given, controls=True)
    switches = find_switches(network, steering, reached, given)
    choices += [choice_of_value(switch) for switch in switches if switch.is_open]
    if len(towers) > 1 and is_as_good(towers[0], towers[1]):
        ends = tuple(towers[1].ends[:3])
        choices.append(Choice("--output", ends, f"{', '.join(ends)} instead", "another tower"))
    choices += choice_of_weights(network, wanted, fit)
    proposal: Optional[Proposal] = None
    refused: Tuple[Problem, ...] = ()
    if chosen and inputs and not steering.labels:
        proposed = functools.partial(propose, network, inputs, chosen, switches, choices)
        proposal, refused = _accepted(proposed, steering)
    ranked = sorted(ranked, key=lambda o: o.tensor not in [c.tensor for c in chosen])
    return GraphReport(
        tensorflow=meta_graph.tensorflow,
        nodes=len(network.flow.nodes),
        inputs=tuple(inputs),
        outputs=tuple(ranked),
        decoders=tuple(decoders),
        switches=tuple(switches),
        training_ops=find_training_ops(network, reached),
        towers=tuple(towers) if len(towers) > 1 else (),
        shared=tuple(shared_variables(towers)) if len(towers) > 1 else (),
        tables=tuple(sorted(n for n in reached if network.flow.nodes[n].op in TABLES)),
        left_out=tuple(f"{node.name} ({node.op})" for node in network.blocked if node.name not in reached),
        labels=tuple(t.name for t in network.labels if network.flow.consumers(t.name)),
        proposal=proposal,
        problems=tuple(
            serving_problems(meta_graph, network, wanted, inputs, switches)
            + unknown_layers(meta_graph, network)
            + label_problems(network, chosen, steering.labels)
        )
        + (steering.problems if proposal else ())
        + refused,
        notes=tuple(graph_notes(meta_graph, proposal, reached) + forcing_notes(network, chosen)),
    )


def _inputs_and_steering(network: Network, wanted: Sequence[str], fit: Fit) -> Tuple[List[Input], Steering]:
    """What requests bring, and what export makes of the switches; a number that says how to run is one of these."""
    placeholders = [t.name for t in network.primary if network.flow.maker(t.name).op in PLACEHOLDERS]
    if network.switches_makers and len(placeholders) > 1:  # some may be there for a branch that only a training runs
        network.leave_out(steer(network, wanted, placeholders, fit.shapes).unused)
    inputs = find_inputs(network, wanted)
    data = [one for one in inputs if not _may_be_switch(network, one)]
    steering = steer(network, wanted, [one.tensor for one in data], fit.shapes)
    brought = [one for one in inputs if one in data or network.flow.maker(one.tensor).name not in steering.decided]
    if len(brought) > len(data):
        steering = steer(network, wanted, [one.tensor for one in brought], fit.shapes)
    return [one for one in brought if one.tensor not in steering.unused], steering


def _accepted(proposed: Callable[..., Proposal], steering: Steering) -> Tuple[Proposal, Tuple[Problem, ...]]:
    """The proposal with the batch that `export` will take, and what it will refuse all the same."""
    proposal = proposed()
    found = find_acceptance(proposal, steering.graph_def)
    if found.batch is not None:
        proposal = proposed(held=(found.batch, found.node))
        found = find_acceptance(proposal, steering.graph_def)
    return proposal, () if steering.problems else found.problems


def _may_be_switch(network: Network, one: Input) -> bool:
    return one.kind == "other" and not one.shape and network.flow.maker(one.tensor).op in PLACEHOLDERS
