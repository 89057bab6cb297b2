"""A graph with everything that serving it takes: its variables matched with a checkpoint, its signatures bound."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any, FrozenSet, List, Mapping, Optional, Sequence, Tuple

from ckpt2saved.checkpoint.contents import AVERAGE, Checkpoint, SavedTable, Weights, choose_weights, served_as
from ckpt2saved.checkpoint.reading import is_as_initialised, restore
from ckpt2saved.checkpoint.roles import OBJECT_GRAPH, has_slots, with_roles, without_slots
from ckpt2saved.checkpoint.savers import Saved, saved_as
from ckpt2saved.checkpoint.variables import add_restore, graph_variables
from ckpt2saved.errors import NotServable, UsageError
from ckpt2saved.graph.graph_def import devices_of, nodes_of, pinned_text, pruned, trained_variables
from ckpt2saved.graph.meta_graph import MetaGraph, read_meta_graph
from ckpt2saved.graph.names import node_name
from ckpt2saved.graph.ops import TABLES
from ckpt2saved.rewrites.analyses.batch_dependence import find_batch_dependence
from ckpt2saved.rewrites.analyses.labels import Labels, find_labels
from ckpt2saved.rewrites.found import Edit
from ckpt2saved.rewrites.to_inference import Inference, to_inference, with_values
from ckpt2saved.rewrites.to_signatures import Cut, convert_to_nhwc, cut
from ckpt2saved.saved_model.writing import Asset, ServingGraph, bind_signatures, cut_down
from ckpt2saved.signature.model import FULL, META, ServedModel
from ckpt2saved.signature.renaming import Renaming
from ckpt2saved.sources.appended_decoder import append_decoder
from ckpt2saved.sources.fitting import (
    FixedBatch,
    completed,
    import_cut,
    refuse_loops,
    surroundings,
    with_batch,
)
from ckpt2saved.sources.function import users_function
from ckpt2saved.sources.graph_plan import GraphPlan
from ckpt2saved.sources.lookups import add_filling, fillers
from ckpt2saved.sources.networks import build_graph
from ckpt2saved.sources.objects import draw_object
from ckpt2saved.sources.restored import NOTHING, Import, Restored, add_imports, find_restored, tables_of_saveables
from ckpt2saved.tf1 import tf


@dataclass(frozen=True)
class Network:
    """A graph with the variables and the tensors that matter, nothing restored yet."""

    graph: tf.Graph
    model: ServedModel
    weights: Weights
    serving: ServingGraph
    restore_def: Any  # the SaverDef that restores from the checkpoint
    edits: Tuple[Edit, ...]  # what was changed in a training's graph
    remarks: Tuple[str, ...]  # what the user should know of it
    devices: str  # what was pinned to which device, and is no longer
    imports: Tuple[Import, ...] = ()  # what fills the lookup tables that the checkpoint holds
    unused: Tuple[str, ...] = ()  # the input tensors that no output depends on

    def fill(self, checkpoint: Checkpoint, session: tf.Session) -> None:
        """Make a session's variables and lookup tables what the checkpoint says."""
        if self.weights.keys:
            restore(session, self.restore_def, checkpoint, self.weights)
        if self.imports:
            reader = tf.train.NewCheckpointReader(checkpoint.files.for_tensorflow)
            for one in self.imports:
                one.run(session, reader)
        if self.serving.init_op:
            session.run(self.serving.init_op)


@dataclass(frozen=True)
class _Drawn:
    """A graph before a checkpoint's tensors are matched with it."""

    graph: tf.Graph
    model: ServedModel
    tensors: Mapping[str, tf.Tensor]  # by the names that signatures use
    edits: Tuple[Edit, ...] = ()
    remarks: Tuple[str, ...] = ()
    init_op: str = ""
    assets: Tuple[Asset, ...] = ()
    devices: Optional[Mapping[str, str]] = None  # node -> device; None: as the graph says
    saved: Mapping[str, Sequence[Saved]] = field(default_factory=dict)  # what the graph's own Savers save, and as what
    trained: FrozenSet[str] = frozenset()  # the variables that the graph's optimizers update
    averages: Tuple[str, ...] = ()  # those that took the place of batch statistics
    restored: Restored = NOTHING  # the lookup tables that the checkpoint fills
    unused: Tuple[str, ...] = ()  # the input tensors that no output depends on


def prepare_network(plan: GraphPlan, checkpoint: Checkpoint) -> Network:
    """Build or read the graph of `plan` for a checkpoint, match their variables and bind the signatures."""
    from_meta = plan.model.builder == META
    drawn = _from_meta(plan, checkpoint) if from_meta else _from_builder(plan, checkpoint)
    if plan.model.is_function:
        drawn = _with_nhwc(drawn)
    variables = graph_variables(drawn.graph)
    surgery = plan.model.surgery
    kind = plan.weights if plan.weights != "auto" else surgery.weights or "auto"
    rename = Renaming(surgery.renames)
    frozen = {v.name for v in variables} - drawn.trained if drawn.trained else ()
    weights = choose_weights(checkpoint, variables, kind, rename, from_meta, drawn.saved, frozen)
    tables, as_saved = drawn.restored.checked(checkpoint, drawn.graph, rename)
    weights = replace(weights, tables=tables)
    signature_defs = bind_signatures(drawn.model, drawn.tensors, drawn.graph)
    if not from_meta:
        refuse_loops(plan.model.source, drawn.graph.as_graph_def(), _ends(signature_defs))
    # Two ways to restore: the served one knows each variable by its own name, whatever its tensor is called.
    own_names = {name: name for name in weights.keys}
    served = add_restore(drawn.graph, own_names, tables={name: served_as(name) for name in tables})
    restore_def = add_restore(drawn.graph, weights.keys, weights.slices)
    imports = add_imports(drawn.graph, as_saved)
    graph_def = drawn.graph.as_graph_def()
    if plan.model.is_function and not surgery.keep_training_ops:
        _refuse_batch_dependence(plan.model.builder, graph_def, signature_defs)
    serving = cut_down(ServingGraph(graph_def, served, signature_defs, drawn.init_op, drawn.assets))
    devices, graph = drawn.devices, drawn.graph
    if devices is None:  # a builder's graph, which is going to be run as well: on whatever there is
        devices = devices_of(graph_def)
        graph = _unpinned(graph_def) if devices else graph
    pinned = pinned_text(devices, [node.name for node in nodes_of(serving.graph_def)])
    remarks = drawn.remarks + (_untrained(checkpoint, weights, drawn) if from_meta else ())
    return Network(
        graph, drawn.model, weights, serving, restore_def, drawn.edits, remarks, pinned, imports, drawn.unused
    )


def _ends(signature_defs: Mapping[str, Any]) -> List[Tuple[str, str]]:
    """Where in a signature file each tensor of the signatures is named, and its name."""
    return [
        (f"signatures.{name}.{side}.{key}", info.name)
        for name, signature_def in signature_defs.items()
        for side in ("inputs", "outputs")
        for key, info in getattr(signature_def, side).items()
    ]


def _with_nhwc(drawn: _Drawn) -> _Drawn:
    graph_def, edits = convert_to_nhwc(drawn.graph.as_graph_def())
    if not edits:
        return drawn
    graph = _imported(graph_def)
    tensors = {
        key: tensor if isinstance(tensor, tf.SparseTensor) else graph.get_tensor_by_name(tensor.name)
        for key, tensor in drawn.tensors.items()  # a sparse one is refused where it is bound
    }
    return replace(drawn, graph=graph, tensors=tensors, edits=drawn.edits + edits)


def _unpinned(graph_def: Any) -> tf.Graph:
    for node in nodes_of(graph_def):
        node.device = ""
    return _imported(graph_def)


def _imported(graph_def: Any) -> tf.Graph:
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(graph_def, name="")
    return graph


def _untrained(checkpoint: Checkpoint, weights: Weights, drawn: _Drawn) -> Tuple[str, ...]:
    """A tower for validation may have variables of its own that no training ever touched.

    What tells trained variables is that an optimizer keeps slots for them in the checkpoint, or is in the graph and has
    changed them: plain gradient descent keeps none.
    """
    dtypes = {name: (dtype.name, dtype.size or 0) for name, dtype in checkpoint.dtypes.items()}
    names = {re.sub(AVERAGE + r"\Z", "", key): variable for variable, key in weights.keys.items()}
    roles = with_roles(checkpoint.shapes, dtypes)
    slotted = has_slots(roles)
    if not slotted and not drawn.trained & set(weights.keys):
        return ()
    spared = drawn.trained | set(drawn.averages)
    left = [name for name in without_slots(sorted(names), roles) if names[name] not in spared]
    if not left:
        return ()
    more = f" and {len(left) - 3} more" if len(left) > 3 else ""
    return (
        (
            f"{'no optimizer slots' if slotted else 'no updates by an optimizer'} for {', '.join(left[:3])}{more}, as"
            " there are for others: frozen, or of a tower that was never trained?"
        ),
    )


def _from_builder(plan: GraphPlan, checkpoint: Checkpoint) -> _Drawn:
    if OBJECT_GRAPH in checkpoint.shapes:
        return _from_object(plan, checkpoint)
    graph = tf.Graph()
    with graph.as_default():
        tensors = build_graph(plan.model.builder, checkpoint.variables(), plan.model.options, plan.python_path)
    return _with_tables(_with_decoder(plan.model, graph, tensors), tables_of_saveables(graph))


def _from_object(plan: GraphPlan, checkpoint: Checkpoint) -> _Drawn:
    builder, prefix = plan.model.builder, str(checkpoint.files.prefix)
    if not plan.model.is_function:
        raise UsageError(
            f"{prefix}: this checkpoint is object-based (tf.train.Checkpoint): pass --graph package.module:function, a "
            "function that returns the tf.Module or Keras model"
        )
    if plan.model.surgery.renames:
        raise UsageError("--map: the variables of an object-based checkpoint are found by their objects, not by names")
    with users_function(builder, plan.python_path) as function:
        traced = draw_object(function, plan.model, checkpoint, plan.model.options)
    graph = _imported(traced.graph_def)
    tensors = {key: graph.get_tensor_by_name(name) for key, name in traced.tensors.items()}
    saved = {variable: [Saved(key)] for variable, key in traced.keys.items()}
    return replace(_with_tables(_with_decoder(plan.model, graph, tensors), {}), saved=saved)


def _with_tables(drawn: _Drawn, saved: Mapping[str, SavedTable]) -> _Drawn:
    """A builder's graph with what fills the lookup tables on the way to its answers: the checkpoint, or the graph."""
    graph_def = drawn.graph.as_graph_def()
    if not any(node.op in TABLES for node in graph_def.node):
        return drawn
    specs = [spec for signature in drawn.model.signatures for spec in signature.outputs]
    names = [drawn.tensors[s.tensor].op.name if s.tensor in drawn.tensors else node_name(s.tensor) for s in specs]
    known = {node.name for node in graph_def.node}
    wanted = {node.name for node in pruned(graph_def, [name for name in names if name in known]).node}
    tables = {name: table for name, table in saved.items() if name in wanted}
    init_op, assets = add_filling(drawn.graph, fillers(graph_def, wanted - set(tables)))
    return replace(drawn, init_op=init_op, assets=assets, restored=Restored(tables, tables))


def _with_decoder(model: ServedModel, graph: tf.Graph, tensors: Mapping[str, tf.Tensor]) -> _Drawn:
    """A builder's graph, with a decoder at its end if one is wanted."""
    if model.surgery.decode is None:
        return _Drawn(graph, completed(model, graph, tensors), tensors)
    known = {spec.key: spec.tensor for signature in model.signatures for spec in signature.outputs}
    inputs = completed(
        replace(model, signatures=tuple(replace(s, outputs=()) for s in model.signatures)), graph, tensors
    )
    found, remarks = append_decoder(graph, model.surgery.decode, inputs, tensors)
    hidden = sorted(set(found) & set(tensors) & set(known.values()))
    if hidden:
        remarks += (f"{', '.join(hidden)}: of the decoder that is appended, not the builder's",)
    tensors = dict(tensors, **found)
    return _Drawn(graph, completed(model, graph, tensors), tensors, remarks=remarks)


def _refuse_batch_dependence(builder: str, graph_def: Any, signature_defs: Mapping[str, Any]) -> None:
    """A user's function is said to build the inference; with batch norm in training mode it answers other numbers."""
    outputs = [info.name for signature in signature_defs.values() for info in signature.outputs.values()]
    inputs = [info.name for signature in signature_defs.values() for info in signature.inputs.values()]
    problems = find_batch_dependence(graph_def, outputs, inputs)
    if problems:
        raise NotServable(
            f"{builder} builds a graph that normalises over the batch (batch norm in training mode?), so that answers"
            " depend on what else is in the batch: build it for inference (training=False, is_training=False); where"
            " this is meant, say --keep-training-ops",
            problems,
        )


def _from_meta(plan: GraphPlan, checkpoint: Checkpoint) -> _Drawn:
    """The training's own graph: turned to inference, cut to the signatures, a decoder at its end if one is wanted."""
    source = read_meta_graph(plan.meta)
    surgery = plan.model.surgery
    ends = _decoder_ends(surgery.decode)
    model = completed(plan.model, surroundings(source, plan.model, ends))
    labels = find_labels(source.graph_def, source.shapes)
    if not surgery.allow_labels:
        _refuse_labels(model, labels)
    inference = _inference(source, model, ends, checkpoint, labels)
    found, edits = _cut(inference, model, ends)
    part = found.graph_def
    _refuse_unknown(source, part)
    restored = find_restored(source, {node.name for node in part.node})
    filling = _take_fillers(source.graph_def, part, restored)
    remarks = tuple(unused_text(tensor) for tensor in found.unused)
    try:
        graph = import_cut(found, model)
    except FixedBatch as error:
        if any(spec.shape is not None for signature in plan.model.signatures for spec in signature.inputs):
            raise
        # Nobody asked for another batch: the only one it takes is what the graph says, if not where one would look.
        model = with_batch(model, error.batch)
        found, edits = _cut(inference, model, ends)
        part = found.graph_def
        part.node.extend(_filling_nodes(source.graph_def, part, filling))
        graph = import_cut(found, model)
        remarks += (f"the batch is {error.batch} and can't be another: {error.problems[0]}",)
    tensors = {tensor: graph.get_tensor_by_name(place) for tensor, place in found.places.items()}
    if any(spec.shape is not None for signature in plan.model.signatures for spec in signature.inputs):
        model = _with_own_outputs(plan.model, model, graph, tensors)
    if surgery.decode:
        decoded, more = append_decoder(graph, surgery.decode, model, tensors)
        tensors.update(decoded)
        remarks += more
    init_op, assets = add_filling(graph, filling)
    return _Drawn(
        graph,
        model,
        tensors,
        edits,
        remarks,
        init_op,
        assets,
        source.devices,
        saved_as(source.graph_def),
        trained_variables(source.graph_def),
        inference.averages,
        restored,
        found.unused,
    )


def unused_text(tensor: str) -> str:
    """What is said of an input that could be left away."""
    return f"{tensor}: no output depends on it, and TF Serving would demand it of every request"


def _cut(inference: Inference, model: ServedModel, ends: Sequence[str]) -> Tuple[Cut, Tuple[Edit, ...]]:
    """What is served of a graph, as every server can compute it; and everything that was edited."""
    found = cut(inference.graph_def, model, ends)
    return found, inference.edits + found.edits


def _with_own_outputs(
    asked: ServedModel, model: ServedModel, graph: tf.Graph, tensors: Mapping[str, Any]
) -> ServedModel:
    """`model` with outputs as the cut graph has them: sizes of the training's may be others than those asked for."""
    signatures = [replace(new, outputs=old.outputs) for old, new in zip(asked.signatures, model.signatures)]
    return completed(replace(model, signatures=tuple(signatures)), graph, tensors)


def _refuse_labels(model: ServedModel, labels: Labels) -> None:
    """A request can't bring the truth that it asks for."""
    problems = [
        f"signatures.{signature.name}.inputs.{spec.key}: {spec.tensor}: {labels.refusal(spec.tensor)}"
        for signature in model.signatures
        for spec in signature.inputs
        if ":" in spec.tensor and labels.refusal(spec.tensor)
    ]
    if problems:
        raise NotServable(
            f"{model.source}: inputs are labels: take outputs that do not depend on them, or build the graph for"
            " inference; where clients really send them, say --allow-labels",
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
        inference = to_inference(source.graph_def, *ends, checkpoint.variables(), surgery.pinned, labels)
    never = [names for names in inference.idle if is_as_initialised(checkpoint, *names)]
    if never:
        raise NotServable(
            "the training never updated its moving averages (did it run tf.GraphKeys.UPDATE_OPS?), and batch norm has "
            "nothing else to stand in for the statistics of a batch: train again with the updates",
            ["{} is all 0 and {} all 1, as they were initialised".format(*names) for names in never],
        )
    return inference


def _take_fillers(graph_def: Any, part: Any, restored: Restored) -> List[str]:
    """Put into `part` the nodes of the whole graph that fill tables which no checkpoint fills; returns their names."""
    filling = fillers(graph_def, {node.name for node in part.node} - set(restored.tables))
    part.node.extend(_filling_nodes(graph_def, part, filling))
    return filling


def _filling_nodes(graph_def: Any, part: Any, filling: Sequence[str]) -> List[Any]:
    have = {node.name for node in part.node}
    return [node for node in pruned(graph_def, filling).node if node.name not in have]


def _refuse_unknown(source: MetaGraph, part: Any) -> None:
    problems = [f"{node.name}: {source.unknown[node.name]}" for node in part.node if node.name in source.unknown]
    if problems:
        raise NotServable(
            f"{source.path}: written by TensorFlow {source.tensorflow}, which knows more than this one",
            problems,
        )


def _decoder_ends(decode: Any) -> Tuple[str, ...]:
    if decode is None:
        return ()
    return (decode.logits,) if decode.sequence_length == FULL else (decode.logits, decode.sequence_length)
