"""A graph as a source makes it, and what is added to a graph that was built and not read: decoder, tables, NHWC."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, FrozenSet, Mapping, Optional, Sequence, Tuple

from ckpt2saved.checkpoint.contents import Checkpoint, SavedTable
from ckpt2saved.checkpoint.savers import Saved
from ckpt2saved.errors import NotServable, UsageError
from ckpt2saved.errors.problem import Note
from ckpt2saved.graph.graph_def import pruned
from ckpt2saved.graph.names import node_name
from ckpt2saved.graph.ops import TABLES
from ckpt2saved.rewrites.analyses.batch_dependence import find_batch_dependence
from ckpt2saved.rewrites.found import Edit
from ckpt2saved.rewrites.to_signatures import convert_to_nhwc
from ckpt2saved.saved_model.writing import Asset
from ckpt2saved.signature.model import ServedModel
from ckpt2saved.sources.appended_decoder import append_decoder
from ckpt2saved.sources.fitting import completed
from ckpt2saved.sources.lookups import add_filling, fillers
from ckpt2saved.sources.restored import NOTHING, Restored, tables_of_saveables
from ckpt2saved.tf1 import tf


@dataclass(frozen=True)
class LoadedGraph:
    """A graph before a checkpoint's tensors are matched with its variables."""

    graph: tf.Graph
    model: ServedModel  # its signatures with the dtypes and shapes of the graph
    tensors: Mapping[str, tf.Tensor]  # by the names that signatures use
    edits: Tuple[Edit, ...] = ()
    notes: Tuple[Note, ...] = ()
    init_op: str = ""
    assets: Tuple[Asset, ...] = ()
    devices: Optional[Mapping[str, str]] = None  # node -> device; None: as the graph says
    saved: Mapping[str, Sequence[Saved]] = field(default_factory=dict)  # what the graph's own Savers save, and as what
    restored: Restored = NOTHING  # the lookup tables that the checkpoint fills
    unused: Tuple[str, ...] = ()  # the input tensors that no output depends on
    is_training: bool = False  # whether it is what a training wrote, and not what was built for inference
    trained: FrozenSet[str] = frozenset()  # the variables that the graph's optimizers update
    averages: Tuple[str, ...] = ()  # the variables that took the place of batch statistics


def refuse_objects(checkpoint: Checkpoint) -> None:
    """Raise UsageError for an object-based checkpoint, whose variables have no names."""
    if checkpoint.is_object_based:
        raise UsageError(
            f"{checkpoint.files.prefix}: this checkpoint is object-based (tf.train.Checkpoint): pass --graph"
            " package.module:function, a function that returns the tf.Module or Keras model"
        )


def loaded_from_builder(model: ServedModel, graph: tf.Graph, tensors: Mapping[str, tf.Tensor]) -> LoadedGraph:
    """A graph that was built for inference; with the decoder that is wanted, and its lookup tables filled."""
    return _with_tables(_with_decoder(model, graph, tensors), tables_of_saveables(graph))


def as_users_inference(loaded: LoadedGraph, builder: str) -> LoadedGraph:
    """A graph of the user's code, in NHWC; raises NotServable where it normalises over the batch, as trainings do."""
    loaded = _with_nhwc(loaded)
    if not loaded.model.surgery.keep_training_ops:
        _refuse_batch_dependence(builder, loaded)
    return loaded


def _with_nhwc(loaded: LoadedGraph) -> LoadedGraph:
    graph_def, edits = convert_to_nhwc(loaded.graph.as_graph_def())
    if not edits:
        return loaded
    graph = imported(graph_def)
    tensors = {
        key: tensor if isinstance(tensor, tf.SparseTensor) else graph.get_tensor_by_name(tensor.name)
        for key, tensor in loaded.tensors.items()  # a sparse one is refused where it is bound
    }
    return replace(loaded, graph=graph, tensors=tensors, edits=loaded.edits + edits)


def imported(graph_def: Any) -> tf.Graph:
    """A GraphDef as a graph of its own."""
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(graph_def, name="")
    return graph


def _with_tables(loaded: LoadedGraph, saved: Mapping[str, SavedTable]) -> LoadedGraph:
    """A builder's graph with what fills the lookup tables on the way to its answers: the checkpoint, or the graph."""
    graph_def = loaded.graph.as_graph_def()
    if not any(node.op in TABLES for node in graph_def.node):
        return loaded
    specs = [spec for signature in loaded.model.signatures for spec in signature.outputs]
    names = [loaded.tensors[s.tensor].op.name if s.tensor in loaded.tensors else node_name(s.tensor) for s in specs]
    known = {node.name for node in graph_def.node}
    wanted = {node.name for node in pruned(graph_def, [name for name in names if name in known]).node}
    tables = {name: table for name, table in saved.items() if name in wanted}
    init_op, assets = add_filling(loaded.graph, fillers(graph_def, wanted - set(tables)))
    return replace(loaded, init_op=init_op, assets=assets, restored=Restored(tables, tables))


def _with_decoder(model: ServedModel, graph: tf.Graph, tensors: Mapping[str, tf.Tensor]) -> LoadedGraph:
    """A builder's graph, with a decoder at its end if one is wanted."""
    if model.surgery.decode is None:
        return LoadedGraph(graph, completed(model, graph, tensors), tensors)
    known = {spec.key: spec.tensor for signature in model.signatures for spec in signature.outputs}
    inputs = completed(
        replace(model, signatures=tuple(replace(s, outputs=()) for s in model.signatures)), graph, tensors
    )
    found, notes = append_decoder(graph, model.surgery.decode, inputs, tensors)
    hidden = sorted(set(found) & set(tensors) & set(known.values()))
    if hidden:
        text = "of the decoder that is appended, not the builder's"
        notes += (Note("decoder-hides-output", ", ".join(hidden), text),)
    tensors = dict(tensors, **found)
    return LoadedGraph(graph, completed(model, graph, tensors), tensors, notes=notes)


def _dense(tensor: Any) -> tf.Tensor:
    """The tensor itself, or the values of a SparseTensor, which is refused where it is bound."""
    return tensor.values if isinstance(tensor, tf.SparseTensor) else tensor


def _refuse_batch_dependence(builder: str, loaded: LoadedGraph) -> None:
    """A user's function is said to build the inference; with batch norm in training mode it answers other numbers."""
    signatures, named = loaded.model.signatures, loaded.tensors
    outputs, inputs = (
        [_dense(named[spec.tensor]).name if spec.tensor in named else spec.tensor for spec in specs]
        for specs in (
            [spec for signature in signatures for spec in signature.outputs],
            [spec for signature in signatures for spec in signature.inputs],
        )
    )
    problems = find_batch_dependence(loaded.graph.as_graph_def(), outputs, inputs)
    if problems:
        raise NotServable(
            f"{builder} builds a graph that normalises over the batch (batch norm in training mode?), so that answers"
            " depend on what else is in the batch: build it for inference (training=False, is_training=False); where"
            " this is meant, say --keep-training-ops",
            problems,
        )
