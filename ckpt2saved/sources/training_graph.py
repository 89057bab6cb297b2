"""Load a training's graph: convert it to inference, cut it to the signatures, append a decoder."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, FrozenSet, List, Mapping, Optional, Sequence, Tuple

from ckpt2saved.checkpoint.contents import Checkpoint
from ckpt2saved.checkpoint.reading import is_as_initialised
from ckpt2saved.checkpoint.savers import saved_as
from ckpt2saved.errors import NotServable
from ckpt2saved.errors.problem import Note, Problem
from ckpt2saved.graph.graph import Graph
from ckpt2saved.graph.graph_def import pruned, trained_variables
from ckpt2saved.graph.meta_graph import MetaGraph
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.rewrites.analyses.labels import Labels, find_labels
from ckpt2saved.rewrites.found import Edit
from ckpt2saved.rewrites.to_inference import Inference, to_inference, with_values
from ckpt2saved.rewrites.to_signatures import Cut, cut
from ckpt2saved.signature.model import FULL, Decode, ServedModel
from ckpt2saved.sources.appended_decoder import append_decoder
from ckpt2saved.sources.fitting import FixedBatch, completed, import_cut, surroundings, with_batch
from ckpt2saved.sources.loaded import LoadedGraph
from ckpt2saved.sources.lookups import add_filling, fillers
from ckpt2saved.sources.restored import Restored, find_restored

UNUSED = "no output depends on it, and TF Serving would demand it of every request"  # of an input


def load_training_graph(source: MetaGraph, checkpoint: Checkpoint, asked: ServedModel) -> LoadedGraph:
    """Load a training's graph for serving; raises SignatureError or NotServable with all problems."""
    surgery = asked.surgery
    ends = _decoder_ends(surgery.decode)
    model = completed(asked, surroundings(source, asked, ends))
    labels = find_labels(Graph(source.graph_def, is_copied=False), source.shapes)
    if not surgery.allow_labels:
        _refuse_labels(model, labels)
    inference = _inference(source, model, ends, checkpoint, labels)
    found, edits = _cut(inference, model, ends, source, checkpoint)
    part = found.graph_def
    _refuse_unknown(source, part)
    restored = find_restored(source, {node.name for node in part.node})
    filling = _take_fillers(source.graph_def, part, restored)
    notes = tuple(Note("unused-input", tensor, UNUSED) for tensor in found.unused)
    try:
        graph = import_cut(found, model)
    except FixedBatch as error:
        if any(spec.shape is not None for signature in asked.signatures for spec in signature.inputs):
            raise
        # The user gave no shapes, so the batch size that the graph accepts is the right one.
        model = with_batch(model, error.batch)
        found, edits = _cut(inference, model, ends, source, checkpoint)
        part = found.graph_def
        part.node.extend(_filling_nodes(source.graph_def, part, filling))
        graph = import_cut(found, model)
        notes += (Note("fixed-batch", "", f"the batch is {error.batch} and can't be another: {error.problems[0]}"),)
    tensors = {tensor: graph.get_tensor_by_name(place) for tensor, place in found.places.items()}
    if any(spec.shape is not None for signature in asked.signatures for spec in signature.inputs):
        model = _with_own_outputs(asked, model, graph, tensors)
    if surgery.decode:
        decoded, more = append_decoder(graph, surgery.decode, model, tensors)
        tensors.update(decoded)
        notes += more
    init_op, assets = add_filling(graph, filling)
    return LoadedGraph(
        graph=graph,
        model=model,
        tensors=tensors,
        edits=edits,
        notes=notes,
        init_op=init_op,
        assets=assets,
        devices=source.devices,
        saved=saved_as(source.graph_def),
        restored=restored,
        unused=found.unused,
        is_training=True,
        trained=_trained(source.graph_def, found),
        averages=inference.averages,
    )


def _cut(
    inference: Inference, model: ServedModel, ends: Sequence[str], source: MetaGraph, checkpoint: Checkpoint
) -> Tuple[Cut, Tuple[Edit, ...]]:
    """Cut the graph to the signatures; returns it with all edits so far."""
    found = cut(inference.graph_def, model, ends, source.graph_def, checkpoint.variables())
    return found, inference.edits + found.edits


def _trained(graph_def: Any, found: Cut) -> FrozenSet[str]:
    """The variables that the optimizers of a training update, with those that replace such a variable."""
    trained = trained_variables(graph_def)
    return trained | {name for name, replaced in found.replacing.items() if replaced in trained}


def _with_own_outputs(
    asked: ServedModel, model: ServedModel, graph: tf.Graph, tensors: Mapping[str, Any]
) -> ServedModel:
    """`model` with the output shapes of the cut graph, because input shapes may differ from those in training."""
    signatures = [replace(new, outputs=old.outputs) for old, new in zip(asked.signatures, model.signatures)]
    return completed(replace(model, signatures=tuple(signatures)), graph, tensors)


def _refuse_labels(model: ServedModel, labels: Labels) -> None:
    """Raise NotServable for inputs that are labels: clients do not have them."""
    problems = [
        Problem(
            "label-input",
            f"signatures.{signature.name}.inputs.{spec.key}",
            f"{spec.tensor}: {labels.refusal(spec.tensor)}",
        )
        for signature in model.signatures
        for spec in signature.inputs
        if ":" in spec.tensor and labels.refusal(spec.tensor)
    ]
    if problems:
        raise NotServable(
            f"{model.source}: inputs are labels: take outputs that do not depend on them, or build the graph for"
            " inference; where clients really send them, pass --allow-labels",
            problems,
        )


def _inference(
    source: MetaGraph, model: ServedModel, more: Sequence[str], checkpoint: Checkpoint, labels: Labels
) -> Inference:
    surgery = model.surgery
    if surgery.keep_training_ops and not surgery.pinned:
        return Inference(source.graph_def, (), ())
    outputs = [spec.tensor for signature in model.signatures for spec in signature.outputs if ":" in spec.tensor]
    inputs = [spec.tensor for signature in model.signatures for spec in signature.inputs if ":" in spec.tensor]
    unique = sorted((set(outputs) | set(more)) - set(inputs))
    ends = unique, sorted(set(inputs))
    if surgery.keep_training_ops:
        inference = with_values(source.graph_def, *ends, surgery.pinned)
    else:
        inference = to_inference(source.graph_def, *ends, checkpoint.variables(), surgery.pinned, labels=labels)
    never = [names for names in inference.idle if is_as_initialised(checkpoint, *names)]
    if never:
        raise NotServable(
            "the training never updated its moving averages (did it run tf.GraphKeys.UPDATE_OPS?), so batch norm has "
            "no statistics for inference: train again with the updates",
            [
                Problem("initial-averages", mean, f"all 0, and {variance} all 1, as they were initialised")
                for mean, variance in never
            ],
        )
    return inference


def _take_fillers(graph_def: Any, part: Any, restored: Restored) -> List[str]:
    """Add to `part` the nodes that fill the tables which the checkpoint does not fill; returns their names."""
    filling = fillers(graph_def, {node.name for node in part.node} - set(restored.tables))
    part.node.extend(_filling_nodes(graph_def, part, filling))
    return filling


def _filling_nodes(graph_def: Any, part: Any, filling: Sequence[str]) -> List[Any]:
    have = {node.name for node in part.node}
    return [node for node in pruned(graph_def, filling).node if node.name not in have]


def _refuse_unknown(source: MetaGraph, part: Any) -> None:
    problems = [
        Problem("unknown-attribute", node.name, source.unknown[node.name])
        for node in part.node
        if node.name in source.unknown
    ]
    if problems:
        raise NotServable(
            f"{source.path}: written by TensorFlow {source.tensorflow}, with attributes that this TensorFlow lacks",
            problems,
        )


def _decoder_ends(decode: Optional[Decode]) -> Tuple[str, ...]:
    if decode is None:
        return ()
    return (decode.logits,) if decode.sequence_length == FULL else (decode.logits, decode.sequence_length)
