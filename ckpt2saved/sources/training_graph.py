"""Load a training's graph: convert it to inference, cut it to the signatures, append a decoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, List, Optional, Tuple

from ckpt2saved.checkpoint.contents import Checkpoint
from ckpt2saved.checkpoint.reading import is_as_initialised
from ckpt2saved.checkpoint.savers import saved_as
from ckpt2saved.errors import NotServable
from ckpt2saved.errors.problem import Note, Problem
from ckpt2saved.graph.graph_def import trained_variables
from ckpt2saved.graph.meta_graph import MetaGraph
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.rewrites.analyses.whole_training import WholeTraining
from ckpt2saved.rewrites.to_inference import Inference, to_inference
from ckpt2saved.rewrites.to_signatures import Cut, cut
from ckpt2saved.signature.model import FULL, Decode, ServedModel
from ckpt2saved.sources.appended_decoder import append_decoder
from ckpt2saved.sources.fitting import FixedBatch, completed, import_cut, surroundings, with_batch, with_own_outputs
from ckpt2saved.sources.loaded import LoadedGraph
from ckpt2saved.sources.lookups import add_filling, take_fillers
from ckpt2saved.sources.restored import Restored, find_restored

UNUSED = "no output depends on it, and TF Serving would demand it of every request"  # of an input


def load_training_graph(source: MetaGraph, checkpoint: Checkpoint, asked: ServedModel) -> LoadedGraph:
    """Load a training's graph for serving; raises SignatureError or NotServable with all problems."""
    surgery, variables = asked.surgery, checkpoint.variables()
    ends = _decoder_ends(surgery.decode)
    model = completed(asked, surroundings(source, asked, ends))
    training = WholeTraining(source.graph_def, source.shapes)
    inference = to_inference(training, model, ends, variables)
    _refuse_initial(checkpoint, inference)
    has_shapes = any(spec.shape is not None for signature in asked.signatures for spec in signature.inputs)

    def part_for(model: ServedModel) -> _Part:
        found = cut(inference.graph_def, model, ends, training, variables)
        _refuse_unknown(source, found.graph_def)
        restored = find_restored(source, {node.name for node in found.graph_def.node})
        filling = take_fillers(source.graph_def, found.graph_def, restored.tables)
        return _Part(found, import_cut(found, model), restored, filling)

    notes: Tuple[Note, ...] = ()
    try:
        part = part_for(model)
    except FixedBatch as error:
        if has_shapes:
            raise
        # The user gave no shapes, so the batch size that the graph accepts is the right one.
        model = with_batch(model, error.batch)
        part = part_for(model)
        notes = (Note("fixed-batch", "", f"the batch is {error.batch} and can't be another: {error.problems[0]}"),)
    notes = tuple(Note("unused-input", tensor, UNUSED) for tensor in part.cut.unused) + notes
    tensors = {tensor: part.graph.get_tensor_by_name(place) for tensor, place in part.cut.places.items()}
    if has_shapes:
        model = with_own_outputs(asked, model, part.graph, tensors)
    if surgery.decode:
        decoded, more = append_decoder(part.graph, surgery.decode, model, tensors)
        tensors.update(decoded)
        notes += more
    init_op, assets = add_filling(part.graph, part.filling)
    trained = trained_variables(source.graph_def)
    return LoadedGraph(
        graph=part.graph,
        model=model,
        tensors=tensors,
        edits=inference.edits + part.cut.edits,
        notes=notes,
        init_op=init_op,
        assets=assets,
        devices=source.devices,
        saved=saved_as(source.graph_def),
        restored=part.restored,
        unused=part.cut.unused,
        is_training=True,
        trained=trained | {new for new, replaced in part.cut.replacing.items() if replaced in trained},
        averages=inference.averages,
    )


@dataclass(frozen=True)
class _Part:
    """The part of a training's graph that is served, imported."""

    cut: Cut
    graph: tf.Graph
    restored: Restored  # the lookup tables that the checkpoint fills
    filling: List[str]  # the nodes that fill the others


def _refuse_initial(checkpoint: Checkpoint, inference: Inference) -> None:
    """Raise NotServable for moving averages that nothing updates and that have their initial values."""
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
