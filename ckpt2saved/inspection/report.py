"""An inspection: everything that is found out about a checkpoint, a training's graph or a SavedModel."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set, Tuple

from ckpt2saved.checkpoint import roles
from ckpt2saved.checkpoint.contents import AVERAGE, Checkpoint, open_checkpoint, source_of
from ckpt2saved.checkpoint.index import index_of, is_cut_off
from ckpt2saved.checkpoint.objects import read_objects
from ckpt2saved.checkpoint.reading import values
from ckpt2saved.checkpoint.savers import Saved, saved_as
from ckpt2saved.errors import CheckpointError, NotServable
from ckpt2saved.errors.problem import Choice, Message, Note, Problem, choice_details, details, texts
from ckpt2saved.graph.backward import is_backward
from ckpt2saved.graph.dataflow import foreign_nodes, read_dataflow
from ckpt2saved.graph.graph_def import pinned_text
from ckpt2saved.graph.meta_graph import MetaGraph, read_meta_graph
from ckpt2saved.graph.names import parsed
from ckpt2saved.graph.ops import FUSED_BATCH_NORMS, PLACEHOLDERS, TABLES, is_random
from ckpt2saved.inspection.acceptance import find_acceptance
from ckpt2saved.inspection.decoders import Decoder, ctc_outputs, find_ctc_logits, find_decoders, loss_output
from ckpt2saved.inspection.forcing import forced_answers, settled_nodes
from ckpt2saved.inspection.heads import find_heads
from ckpt2saved.inspection.inputs import Input, find_inputs
from ckpt2saved.inspection.network import Network
from ckpt2saved.inspection.outputs import Output
from ckpt2saved.inspection.probabilities import shares_of
from ckpt2saved.inspection.proposal import Proposal, command_line, outputs_without_batch, propose, value_text
from ckpt2saved.inspection.subject import FROZEN, Subject
from ckpt2saved.inspection.towers import Tower, find_towers, shared_variables
from ckpt2saved.inspection.training import Switch, TrainingOps, find_switches, find_training_ops, steer
from ckpt2saved.requests.batching import without_batch_text
from ckpt2saved.rewrites.analyses.labels import find_labels
from ckpt2saved.rewrites.lint import check_servable
from ckpt2saved.rewrites.to_inference import Steering
from ckpt2saved.sources.lookups import fillers
from ckpt2saved.sources.restored import find_restored, saved_tables
from ckpt2saved.tf1 import tf

_HEADS = ("probabilities", "boxes", "scores")
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


@dataclass(frozen=True)
class VariableReport:
    """What a checkpoint holds, and how that fits the graph beside it."""

    variables: Tuple[roles.Variable, ...]
    step: Optional[int]
    is_object_based: bool
    averaged: int  # how many trained variables have a moving average
    averageable: int
    missing: Tuple[str, ...]  # variables of the graph
    missing_needed: Tuple[str, ...]  # of them, what the proposed outputs depend on
    misshapen: Tuple[Problem, ...]
    unused: Tuple[str, ...]  # tensors of the checkpoint that are no variable of the graph


@dataclass(frozen=True)
class Inspection:
    """What was found, and what was not possible."""

    subject: Subject
    graph: Optional[GraphReport]
    checkpoint: Optional[VariableReport]
    saved_model: Any  # a SavedModelReport
    remarks: Tuple[Note, ...]

    @property
    def prefix(self) -> str:
        files = self.subject.checkpoint
        return str(files.prefix) if files else "PREFIX"

    @property
    def source(self) -> List[str]:
        """The options of export that say which graph this is."""
        if self.subject.kind == FROZEN:
            return ["--graph", str(self.subject.path)]
        return ["--graph", "meta", "--checkpoint", self.prefix]

    @property
    def command(self) -> List[List[str]]:
        proposal = self.graph.proposal if self.graph and not self.graph.problems else None
        return command_line(proposal, self.source) if proposal else []

    @property
    def refusal(self) -> str:
        """Why `export` refuses the command as it stands, and what to do; "" where nothing is known that it refuses."""
        graph, held = self.graph, self.checkpoint
        if graph is None or graph.proposal is None:
            return ""
        if graph.problems:
            return "no command: export would refuse it for what is marked as a problem below"
        missing = len(held.missing_needed) + len(held.misshapen) if held else 0
        if missing:
            return (
                f"export would refuse this: {missing} variables of the graph are not in this checkpoint, or in another"
                " shape; pass the .meta of the same training (--graph FILE.meta), or --map where only the names differ"
            )
        if any(switch.is_open for switch in graph.switches) or any(s.sizes is None for s in graph.proposal.inputs):
            return "once it says what is marked with choose:"
        return ""


def inspect_subject(subject: Subject) -> Inspection:
    """Read everything; what can't be read beside something that can is a remark."""
    if subject.saved_model:
        from ckpt2saved.inspection.saved import read_saved_model

        return Inspection(
            subject=subject,
            graph=None,
            checkpoint=None,
            saved_model=read_saved_model(subject.saved_model),
            remarks=subject.remarks,
        )
    remarks = list(subject.remarks)
    checkpoint = open_checkpoint(subject.checkpoint) if subject.checkpoint else None
    meta_graph, network = None, None
    if subject.meta:
        try:
            meta_graph = read_meta_graph(subject.meta)
            labels = find_labels(meta_graph.graph_def, meta_graph.shapes)
            network = Network(read_dataflow(meta_graph), labels)
            shapes = checkpoint.variables() if checkpoint else {}
            settled = settled_nodes(network, shapes) if labels.forced else ()
            network = Network(network.flow, labels, settled) if settled else network
            remarks += _foreign(meta_graph)
        except CheckpointError as error:
            if checkpoint is None:
                raise
            remarks.append(Note("unread-meta", "", str(error)))
    elif checkpoint and roles.is_object_based(list(checkpoint.shapes)):
        remarks.append(_of_objects(checkpoint))
    elif subject.checkpoint:
        remarks.append(
            Note(
                "no-meta",
                "",
                f"there is no {subject.checkpoint.name}.meta, so nothing is known of the graph",
                "export with a built-in model (--model crnn, ctpn), or copy the .meta that training wrote",
            )
        )
    saved = saved_as(meta_graph.graph_def) if meta_graph else {}
    tables = saved_tables(meta_graph.graph_def).values() if meta_graph else ()
    fit = _Fit(checkpoint, network, saved, {name for table in tables for name in table.names})
    graph = _graph_report(meta_graph, network, fit) if meta_graph and network else None
    variables = _variable_report(checkpoint, network, fit, graph) if checkpoint else None
    if variables and fit.is_of_another_run:
        found = (
            f"the .meta seems to be of another run: {len(fit.foreign)} of its {len(fit.weights)} trained variables are"
            " not in the checkpoint, or in another shape"
        )
        remarks.insert(0, Note("meta-of-another-run", "", found))
    files = subject.checkpoint
    if variables and files and is_cut_off(files, index_of(files).entries.values()):
        found = "the data files are shorter than the index says: this checkpoint was cut off"
        remarks.insert(0, Note("cut-off", "", found, "copy it again"))
    return Inspection(subject=subject, graph=graph, checkpoint=variables, saved_model=None, remarks=tuple(remarks))


def _of_objects(checkpoint: Checkpoint) -> Note:
    """How a checkpoint is exported that was written by tf.train.Checkpoint, and has no graph at all."""
    try:
        under_root = read_objects(checkpoint).root_text
    except CheckpointError as error:
        return Note("object-based", "", str(error))
    return Note(
        "object-based",
        "",
        f"tf.train.Checkpoint or Keras wrote it: it holds objects (under its root: {under_root}) and no graph",
        "export it with --graph MODULE:FUNCTION, a function of yours that returns the tf.Module or Keras model,"
        " --python-path DIRECTORY where that module is, --input NAME[batch,…] with the shape, and --output output",
    )


def _foreign(meta_graph: MetaGraph) -> List[Note]:
    nodes = foreign_nodes(meta_graph.graph_def)
    if not nodes:
        return []
    more = f" and {len(nodes) - 1} more" if len(nodes) > 1 else ""
    ops = ", ".join(sorted({node.op for node in nodes}))
    found = f"TensorFlow {tf.VERSION} has no op {ops}: left out, with all that depends on {nodes[0].name}{more}"
    return [Note("unknown-op", "", found)]


class _Fit:
    """How the variables of a graph and the tensors of a checkpoint go together."""

    def __init__(
        self,
        checkpoint: Optional[Checkpoint],
        network: Optional[Network],
        saved: Mapping[str, Sequence[Saved]],
        in_tables: Set[str],
    ) -> None:
        self.missing: List[str] = []
        self.misshapen: List[Problem] = []
        self.unused: List[str] = []
        self.foreign: List[str] = []
        self.weights: List[str] = []
        self.averaged: List[str] = []
        self.shapes: Mapping[str, Any] = {}  # of the variables; without a checkpoint, of the graph's
        if network is not None:
            self.shapes = {name: _declared(node) for name, node in network.variables.items()}
        if checkpoint is not None:
            self.shapes = checkpoint.variables()
        if checkpoint is None or network is None:
            return
        keys = {name: _key(name, checkpoint.shapes, saved) for name in network.variables}
        for name, key in keys.items():
            node = network.variables[name]
            declared = tf.TensorShape(node.attr["shape"].shape)
            if key not in checkpoint.shapes:
                self.missing.append(name)
            elif key == name and not declared.is_compatible_with(checkpoint.shapes[key]):
                found = f"{declared} in the graph, {list(checkpoint.shapes[key])} in the checkpoint"
                self.misshapen.append(Problem("misshapen-variable", name, found))
                self.foreign.append(name)
        wanted = set(keys.values()) | in_tables
        self.unused = [
            name
            for name in sorted(checkpoint.shapes)
            if name not in wanted and not (name.endswith(AVERAGE) and name[: -len(AVERAGE)] in wanted)
        ]
        self.weights = sorted(network.trained or [n for n in network.variables if keys[n] in checkpoint.shapes])
        self.averaged = [name for name in self.weights if name + AVERAGE in checkpoint.shapes]
        self.foreign += [name for name in self.missing if name in self.weights]

    @property
    def is_of_another_run(self) -> bool:
        return len(self.foreign) * 2 > len(self.weights) > 0


def _declared(node: Any) -> List[Any]:
    shape = tf.TensorShape(node.attr["value"].tensor.tensor_shape if node.op == "Const" else node.attr["shape"].shape)
    return [] if shape.ndims is None else shape.as_list()


def _key(name: str, shapes: Mapping[str, Any], saved: Mapping[str, Sequence[Saved]]) -> str:
    """A variable's name in the checkpoint: a part of a partitioned one is saved under the name of the whole."""
    key = source_of(name, shapes, str, saved).key
    return key + AVERAGE if key not in shapes and key + AVERAGE in shapes else key  # saved as its average alone


def _graph_report(meta_graph: MetaGraph, network: Network, fit: _Fit) -> GraphReport:
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
    first = _first_tower(network, candidates, towers)
    ranked = sorted(candidates, key=lambda o: (o.tensor not in first, _RANKS.index(o.kind)))
    of_shares = {name: o.tensor for name, o in shares.items()}
    while True:
        chosen, choices = _chosen(ranked, decoders, of_losses, of_shares, first)
        wanted = [output.tensor for output in chosen] or [output.tensor for output in ranked]
        inputs, steering = _inputs_and_steering(network, wanted, fit)
        # What is on a branch that does not run in inference is known only once its switches are.
        if not any(output.tensor in steering.lost for output in ranked):
            break
        ranked = [output for output in ranked if output.tensor not in steering.lost]
    given = [one.tensor for one in inputs]
    reached = network.flow.upstream(wanted, given, controls=True)
    switches = find_switches(network, steering, reached, given)
    choices += [_choice_of_value(switch) for switch in switches if switch.is_open]
    if len(towers) > 1 and _as_good(towers[0], towers[1]):
        ends = tuple(towers[1].ends[:3])
        choices.append(Choice("--output", ends, f"{', '.join(ends)} instead", "another tower"))
    choices += _choice_of_weights(network, wanted, fit)
    proposal: Optional[Proposal] = None
    refused: Tuple[Problem, ...] = ()
    if chosen and inputs and not steering.labels:
        proposal, refused = _accepted(network, inputs, chosen, switches, choices, steering)
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
            _problems(meta_graph, network, wanted, inputs, switches)
            + _layers_unknown(meta_graph, network)
            + _label_problems(network, chosen, steering.labels)
        )
        + (steering.problems if proposal else ())
        + refused,
        notes=tuple(_notes(meta_graph, proposal, reached) + ([] if _needs_labels(chosen) else _forcing_notes(network))),
    )


def _needs_labels(chosen: Sequence[Output]) -> bool:
    """Whether nothing that is an answer can be served, where a graph has answers that need labels."""
    return all(output.kind == "values" for output in chosen)


def _forcing_notes(network: Network) -> List[Note]:
    """What can't be served beside outputs that can."""
    return [problem.as_note() for problem in forced_answers(network)]


def _label_problems(network: Network, chosen: Sequence[Output], taken: Sequence[str]) -> List[Problem]:
    found = forced_answers(network) if _needs_labels(chosen) else []
    told = set(network.comparisons.forced.values())
    return found + [
        Problem(
            "label-input",
            name,
            f"the outputs take it, if only for its size, and {network.comparisons.sources[name]}, so no request can"
            " bring it",
            "build the graph for inference",
        )
        for name in taken
        if name not in told
    ]


def _inputs_and_steering(network: Network, wanted: Sequence[str], fit: _Fit) -> Tuple[List[Input], Steering]:
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


def _accepted(
    network: Network,
    inputs: Sequence[Input],
    chosen: Sequence[Output],
    switches: Sequence[Switch],
    choices: Sequence[Choice],
    steering: Steering,
) -> Tuple[Proposal, Tuple[Problem, ...]]:
    """The proposal with the batch that `export` will take, and what it will refuse all the same."""
    proposal = propose(network, inputs, chosen, switches, choices)
    found = find_acceptance(proposal, steering.graph_def)
    if found.batch is not None:
        proposal = propose(network, inputs, chosen, switches, choices, (found.batch, found.node))
        found = find_acceptance(proposal, steering.graph_def)
    return proposal, () if steering.problems else found.problems


def _may_be_switch(network: Network, one: Input) -> bool:
    return one.kind == "other" and not one.shape and network.flow.maker(one.tensor).op in PLACEHOLDERS


def _notes(meta_graph: MetaGraph, proposal: Optional[Proposal], reached: Any) -> List[Note]:
    pinned = pinned_text(meta_graph.devices, reached)
    notes = [Note("pinned-device", "", f"{pinned}, which export clears")] if pinned else []
    text = without_batch_text(outputs_without_batch(proposal)) if proposal else ""
    return notes + ([Note("no-batching", "", text)] if text else [])


def _choice_of_value(switch: Switch) -> Choice:
    hint = "" if switch.guess is None else f"; by its name {value_text(switch.guess)}"
    return Choice("--set", (f"{switch.name}=…",), switch.reason + hint)


def _choice_of_weights(network: Network, wanted: Sequence[str], fit: _Fit) -> List[Choice]:
    """Whether to serve moving averages, where there are some and the graph does not read them itself."""
    needed = network.weights_of(list(wanted))
    averaged = [name for name in fit.averaged if name in needed]
    if not averaged or any(name.endswith(AVERAGE) for name in needed):
        return []
    return [Choice("--weights", ("ema", "raw"), f"{len(averaged)} of the weights have a moving average")]


def _as_good(first: Tower, second: Tower) -> bool:
    """Whether nothing but the user's intention speaks for the first; of the same weights either will do."""
    return first.rank == second.rank and first.weights != second.weights


def _first_tower(network: Network, candidates: Sequence[Output], towers: Sequence[Tower]) -> List[str]:
    """The candidates that belong to the best tower."""
    if len(towers) < 2:
        return [output.tensor for output in candidates]
    nodes = [network.flow.upstream(tower.ends) & network.weighted for tower in towers]
    found: List[str] = []
    for output in candidates:
        own = network.flow.upstream([output.tensor]) & network.weighted
        if max(range(len(towers)), key=lambda number: (len(own & nodes[number]), -number)) == 0:
            found.append(output.tensor)
    return found


def _chosen(
    ranked: Sequence[Output],
    decoders: Sequence[Decoder],
    of_losses: Sequence[Output],
    shares: Mapping[str, str],
    first: Sequence[str],
) -> Tuple[List[Output], List[Choice]]:
    """What is proposed to be served, and what the user must decide."""
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
    """What decoders inside of functions make, where the graph has no other decoder."""
    return [] if decoders else [o for o in ranked if o.kind == "decoded" and o.tensor in first]


def _layers_unknown(meta_graph: MetaGraph, network: Network) -> List[Problem]:
    """The ops of the network that this TensorFlow lacks: what is before them is not what the network answers.

    A loss of somebody's own library takes labels as well, and nothing of what is served follows on it.
    """
    found = []
    for node in foreign_nodes(meta_graph.graph_def):
        inputs = [name if ":" in name else name + ":0" for name in node.input if not name.startswith("^")]
        if (
            is_backward(node.name, node.op)
            or not inputs
            or any(parsed(name)[0] not in network.flow.nodes for name in inputs)
        ):
            continue
        makers = {network.flow.maker(name).name for name in inputs}
        labels = {tensor.name for tensor in network.labels}
        if makers & network.training_side or makers & network.tainted or labels & set(inputs):
            continue
        if makers & network.pure:
            text = f"TensorFlow {tf.VERSION} has no such op, and the network goes on behind it"
            remedy = "inspect and export with the TensorFlow of the training"
            found.append(Problem("unknown-op", node.name, text, remedy, op=node.op))
    return found


def _problems(
    meta_graph: MetaGraph, network: Network, wanted: Sequence[str], inputs: Sequence[Input], switches: Sequence[Switch]
) -> List[Problem]:
    """What TF Serving could not run of what outputs are made of; what is only waited for, export drops."""
    reached = network.flow.upstream(wanted, [one.tensor for one in inputs])
    given = {network.flow.maker(one.tensor).name for one in inputs}
    graph_def = tf.GraphDef()
    for node in meta_graph.graph_def.node:
        if node.name in reached and node.name not in given:
            for one in [node] + network.flow.called(node.attr):
                if not is_random(one.op) and one.op not in FUSED_BATCH_NORMS:  # find_training_ops tells
                    graph_def.node.add().CopyFrom(one)
    found: List[Problem] = []
    try:
        check_servable(graph_def)
    except NotServable as error:
        found += error.problems
    try:
        fillers(meta_graph.graph_def, reached - set(find_restored(meta_graph, reached).tables))
    except NotServable as error:
        found += error.problems
    found += [Problem("unknown-attribute", name, why) for name, why in meta_graph.unknown.items() if name in reached]
    settled = given | {switch.name for switch in switches}
    found += [
        Problem("unfed-placeholder", tensor.name, "a placeholder that is neither input nor switch")
        for tensor in network.sources
        if network.flow.maker(tensor.name).op.startswith("Placeholder")
        and network.flow.maker(tensor.name).name in reached
        and network.flow.maker(tensor.name).name not in settled
        and tensor not in network.compared
    ]
    found += [
        Problem("reads-files", name, "it reads files by their names, which a server should not do for a client")
        for name in sorted(reached)
        if network.flow.nodes[name].op in ("ReadFile", "WholeFileReaderV2") and name not in given
    ]
    return found


def _variable_report(
    checkpoint: Checkpoint, network: Optional[Network], fit: _Fit, graph: Optional[GraphReport]
) -> VariableReport:
    dtypes = {name: (dtype.base_dtype.name, _width(dtype)) for name, dtype in checkpoint.dtypes.items()}
    variables = roles.with_roles(checkpoint.shapes, dtypes, _names(checkpoint))
    weights = [v for v in variables if v.role == roles.WEIGHTS]
    needed: Set[str] = set()
    if network and graph:
        served = graph.proposal.outputs if graph.proposal else graph.outputs[:3]
        needed = network.weights_of([output.tensor for output in served])
    return VariableReport(
        variables=tuple(variables),
        step=checkpoint.step if checkpoint.step is not None else _step_of_objects(checkpoint),
        is_object_based=roles.is_object_based(list(checkpoint.shapes)),
        averaged=sum(v.name + AVERAGE in checkpoint.shapes for v in weights),
        averageable=len(weights),
        missing=tuple(fit.missing),
        missing_needed=tuple(name for name in fit.missing if name in needed),
        misshapen=tuple(fit.misshapen),
        unused=tuple(fit.unused),
    )


def _names(checkpoint: Checkpoint) -> Optional[Mapping[str, str]]:
    """The paths of the variables of an object-based checkpoint in their models; None for another checkpoint."""
    if not roles.is_object_based(list(checkpoint.shapes)):
        return None
    try:
        return read_objects(checkpoint).names()
    except CheckpointError:
        return {}  # damaged, as _of_objects says


def _width(dtype: tf.DType) -> int:
    return 0 if dtype.base_dtype.name in ("string", "resource", "variant") else dtype.base_dtype.size


def _step_of_objects(checkpoint: Checkpoint) -> Optional[int]:
    """The step of a training loop whose objects were saved, under one of the usual names."""
    usual = ("global_step", "step", "optimizer/iter", "optimizer/iterations", "optimizer/_iterations", "save_counter")
    keys = [name + roles.VALUE for name in usual]
    scalars = [name for name in checkpoint.shapes if name.endswith("/global_step")]
    keys += scalars if len(scalars) == 1 else []
    key = next((key for key in keys if checkpoint.shapes.get(key) == () and checkpoint.dtypes[key].is_integer), None)
    if key is None:
        return None
    try:
        return int(values(checkpoint, [key])[key])
    except CheckpointError:
        return None  # damaged


def as_content(inspection: Inspection) -> Dict[str, Any]:
    """The inspection as what JSON knows."""
    subject, graph, held = inspection.subject, inspection.graph, inspection.checkpoint
    content: Dict[str, Any] = {
        "path": str(subject.path),
        "kind": subject.kind,
        "checkpoint": str(subject.checkpoint.prefix) if subject.checkpoint else None,
        "meta": str(subject.meta) if subject.meta else None,
        "saved_model": str(subject.saved_model) if subject.saved_model else None,
        "remarks": texts(inspection.remarks),
        "remark_details": details(inspection.remarks),
    }
    if graph:
        content["graph"] = _plain(graph)
        chosen = [spec.tensor for spec in graph.proposal.outputs] if graph.proposal else []
        content["graph"]["problem_details"] = details(graph.problems)
        content["graph"]["note_details"] = details(graph.notes)
        content["graph"]["choice_details"] = choice_details(graph.proposal.choices if graph.proposal else ())
        for output in content["graph"]["outputs"]:
            output["proposed"] = output["tensor"] in chosen
        content["command"] = " ".join(word for line in inspection.command for word in line) or None
    if held:
        content["step"] = held.step
        content["object_based"] = held.is_object_based
        content["roles"] = [_plain(group) for group in roles.by_role(held.variables)]
        content["scopes"] = [_plain(group) for group in roles.by_scope(held.variables)]
        content["averages"] = {"of": held.averaged, "weights": held.averageable}
        content["misshapen_details"] = details(held.misshapen)
        for name in ("missing", "missing_needed", "misshapen", "unused", "variables"):
            content[name] = _plain(getattr(held, name))
    if inspection.saved_model:
        content["served"] = _plain(inspection.saved_model)
        content["served"]["problem_details"] = details(inspection.saved_model.problems)
        content["served"]["note_details"] = details(inspection.saved_model.notes)
    return content


def _plain(value: Any) -> Any:
    if isinstance(value, (Message, Choice)):
        return value.text
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return str(value) if isinstance(value, Path) else value
