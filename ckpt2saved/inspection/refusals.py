"""The problems and notes that `export` would report for a graph."""

from __future__ import annotations

from typing import Collection, List, Optional, Sequence

from ckpt2saved.errors import NotServable
from ckpt2saved.errors.problem import Note, Problem
from ckpt2saved.graph.backward import is_backward
from ckpt2saved.graph.graph_def import pinned_text
from ckpt2saved.graph.meta_graph import MetaGraph
from ckpt2saved.graph.names import Ref
from ckpt2saved.graph.ops import CUDNN_RNNS, FUSED_BATCH_NORMS, PLACEHOLDERS, is_random
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.inspection.forcing import forced_answers
from ckpt2saved.inspection.inputs import Input
from ckpt2saved.inspection.outputs import Output
from ckpt2saved.inspection.proposal import Proposal, outputs_without_batch
from ckpt2saved.inspection.training import Switch, called_nodes
from ckpt2saved.inspection.training_graph import TrainingGraph
from ckpt2saved.requests.batching import without_batch_text
from ckpt2saved.rewrites.lint import check_servable
from ckpt2saved.sources.lookups import fillers
from ckpt2saved.sources.restored import find_restored


def _needs_labels(chosen: Sequence[Output]) -> bool:
    """Whether only intermediate values can be served, because the real outputs need labels."""
    return all(output.kind == "values" for output in chosen)


def forcing_notes(training: TrainingGraph, chosen: Sequence[Output]) -> List[Note]:
    """Notes on outputs that need labels, if other outputs can be served."""
    return [] if _needs_labels(chosen) else [problem.as_note() for problem in forced_answers(training)]


def label_problems(training: TrainingGraph, chosen: Sequence[Output], taken: Sequence[str]) -> List[Problem]:
    """Problems for the labels that the outputs need; `taken` are those that they need in inference."""
    found = forced_answers(training) if _needs_labels(chosen) else []
    reported = set(training.comparisons.forced.values())
    return found + [
        Problem(
            "label-input",
            name,
            f"the outputs need it, or its shape, and {training.comparisons.sources[name]}, so no request can"
            " contain it",
            "build the graph for inference",
        )
        for name in taken
        if name not in reported
    ]


def unknown_layers(training: TrainingGraph) -> List[Problem]:
    """Problems for ops of the network that this TensorFlow lacks: tensors before them are not its outputs.

    Unknown ops that read labels belong to a loss and are no problem.
    """
    found = []
    labels = {tensor.ref for tensor in training.labels}
    for node in training.foreign:
        makers = set(node.sources)
        if is_backward(node.name, node.op) or not makers or any(name not in training.graph for name in makers):
            continue
        if makers & training.backward or makers & training.tainted or labels & set(node.inputs):
            continue
        if makers & training.pure:
            text = f"TensorFlow {tf.VERSION} has no such op, and the network continues after it"
            remedy = "inspect and export with the TensorFlow of the training"
            found.append(Problem("unknown-op", node.name, text, remedy, op=node.op))
    return found


def serving_problems(
    meta_graph: MetaGraph,
    training: TrainingGraph,
    outputs: Sequence[Ref],
    inputs: Sequence[Input],
    switches: Sequence[Switch],
) -> List[Problem]:
    """Problems in the nodes that the outputs depend on; nodes that are only control inputs are dropped by export."""
    graph = training.graph
    reached = graph.upstream(outputs, [one.ref for one in inputs])
    given = {one.ref[0] for one in inputs}
    graph_def = tf.GraphDef()
    for node in (graph[name] for name in graph.nodes if name in reached and name not in given):
        for one in [node.definition, *called_nodes(training, node)]:
            # Reported by find_training_ops, or converted by export.
            if not is_random(one.op) and one.op not in FUSED_BATCH_NORMS and one.op not in CUDNN_RNNS:
                graph_def.node.add().CopyFrom(one)
    buffers = {graph.variable(graph[name].inputs[3]) for name in reached if graph[name].op in CUDNN_RNNS}
    found: List[Problem] = []
    try:
        check_servable(graph_def)
    except NotServable as error:
        found += error.problems
    try:
        fillers(meta_graph.graph_def, reached - set(find_restored(meta_graph, reached - buffers).tables))
    except NotServable as error:
        found += error.problems
    found += [Problem("unknown-attribute", name, why) for name, why in meta_graph.unknown.items() if name in reached]
    settled = given | {switch.name for switch in switches}
    found += [
        Problem("unfed-placeholder", tensor.name, "a placeholder that is neither input nor switch")
        for tensor in training.sources
        if graph.maker(tensor.ref).op in PLACEHOLDERS
        and tensor.ref[0] in reached
        and tensor.ref[0] not in settled
        and tensor not in training.compared
    ]
    found += [
        Problem("reads-files", name, "it reads files by name, which a server should not do for a client")
        for name in sorted(reached)
        if graph[name].op in ("ReadFile", "WholeFileReaderV2") and name not in given
    ]
    return found


def graph_notes(meta_graph: MetaGraph, proposal: Optional[Proposal], reached: Collection[str]) -> List[Note]:
    """Notes on what export changes by itself, and on outputs that cannot be used with batching."""
    pinned = pinned_text(meta_graph.devices, reached)
    notes = [Note("pinned-device", "", f"{pinned}, which export clears")] if pinned else []
    text = without_batch_text(outputs_without_batch(proposal)) if proposal else ""
    return notes + ([Note("no-batching", "", text)] if text else [])
