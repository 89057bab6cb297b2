"""The graph that a source returns, and the steps for graphs from builders: decoder, lookup tables, NHWC."""

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
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.rewrites.analyses.batch_dependence import find_batch_dependence
from ckpt2saved.rewrites.found import Edit
from ckpt2saved.rewrites.to_signatures import in_cpu_ops
from ckpt2saved.saved_model.writing import Asset
from ckpt2saved.signature.model import ServedModel
from ckpt2saved.sources.appended_decoder import append_decoder
from ckpt2saved.sources.fitting import completed
from ckpt2saved.sources.lookups import add_filling, fillers
from ckpt2saved.sources.restored import NOTHING, Restored, tables_of_saveables


@dataclass(frozen=True)
class LoadedGraph:
    """A graph whose variables are not matched with the tensors of a checkpoint yet."""

    graph: tf.Graph
    model: ServedModel  # its signatures with the dtypes and shapes of the graph
    tensors: Mapping[str, tf.Tensor]  # by their names in the signatures
    edits: Tuple[Edit, ...] = ()
    notes: Tuple[Note, ...] = ()
    init_op: str = ""
    assets: Tuple[Asset, ...] = ()
    devices: Optional[Mapping[str, str]] = None  # node -> device; None: as in the graph
    saved: Mapping[str, Sequence[Saved]] = field(default_factory=dict)  # variable -> how the graph's own Savers save it
    restored: Restored = NOTHING  # the lookup tables that the checkpoint fills
    unused: Tuple[str, ...] = ()  # the input tensors that no output depends on
    is_training: bool = False  # whether the training wrote the graph; otherwise it was built for inference
    trained: FrozenSet[str] = frozenset()  # the variables that the graph's optimizers update
    averages: Tuple[str, ...] = ()  # the variables that replace batch statistics
    networks: Tuple[str, ...] = ()  # the first parts of the variables' names, if several networks were joined


def refuse_objects(checkpoint: Checkpoint) -> None:
    """Raise UsageError for an object-based checkpoint, which needs a model object."""
    if checkpoint.is_object_based:
        raise UsageError(
            f"{checkpoint.files.prefix}: this checkpoint is object-based (tf.train.Checkpoint): pass --graph"
            " package.module:function, a function that returns the tf.Module or Keras model"
        )


def loaded_from_builder(model: ServedModel, graph: tf.Graph, tensors: Mapping[str, tf.Tensor]) -> LoadedGraph:
    """A graph that a builder built for inference, with the decoder of --decode and filled lookup tables."""
    return _with_tables(_with_decoder(model, graph, tensors), tables_of_saveables(graph))


def as_users_inference(loaded: LoadedGraph, builder: str, variables: Mapping[str, Sequence[int]] = {}) -> LoadedGraph:
    """A graph of the user's code, in ops of CPUs; raises NotServable if it normalises over the batch.

    `variables` are the checkpoint's (name -> shape).
    """
    loaded = _in_cpu_ops(loaded, variables)
    if not loaded.model.surgery.keep_training_ops:
        _refuse_batch_dependence(builder, loaded)
    return loaded


def _in_cpu_ops(loaded: LoadedGraph, variables: Mapping[str, Sequence[int]]) -> LoadedGraph:
    graph_def, edits = in_cpu_ops(loaded.graph.as_graph_def(), variables, loaded.model.surgery.keeps_cudnn)
    if not edits:
        return loaded
    graph = imported(graph_def)
    tensors = {
        key: tensor if isinstance(tensor, tf.SparseTensor) else graph.get_tensor_by_name(tensor.name)
        for key, tensor in loaded.tensors.items()  # a SparseTensor is refused by bind_signatures
    }
    return replace(loaded, graph=graph, tensors=tensors, edits=loaded.edits + edits)


def imported(graph_def: Any) -> tf.Graph:
    """A GraphDef as a new tf.Graph."""
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(graph_def, name="")
    return graph


def _with_tables(loaded: LoadedGraph, saved: Mapping[str, SavedTable]) -> LoadedGraph:
    """The graph with the lookup tables that its outputs need, filled from the checkpoint or from the graph."""
    graph_def = loaded.graph.as_graph_def()
    if not any(node.op in TABLES for node in graph_def.node):
        return loaded
    specs = [spec for signature in loaded.model.signatures for spec in signature.outputs]
    names = [loaded.tensors[s.tensor].op.name if s.tensor in loaded.tensors else node_name(s.tensor) for s in specs]
    known = {node.name for node in graph_def.node}
    needed = {node.name for node in pruned(graph_def, [name for name in names if name in known]).node}
    tables = {name: table for name, table in saved.items() if name in needed}
    init_op, assets = add_filling(loaded.graph, fillers(graph_def, needed - set(tables)))
    return replace(loaded, init_op=init_op, assets=assets, restored=Restored(tables, tables))


def _with_decoder(model: ServedModel, graph: tf.Graph, tensors: Mapping[str, tf.Tensor]) -> LoadedGraph:
    """The graph of a builder, with a decoder appended if --decode asks for one."""
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
    """The tensor, or the values of a SparseTensor, which bind_signatures refuses."""
    return tensor.values if isinstance(tensor, tf.SparseTensor) else tensor


def _refuse_batch_dependence(builder: str, loaded: LoadedGraph) -> None:
    """Raise NotServable for batch norm in training mode: a function should build the graph for inference."""
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
            " this is meant, pass --keep-training-ops",
            problems,
        )
