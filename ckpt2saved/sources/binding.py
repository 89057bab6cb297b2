"""Match the variables of a loaded graph with a checkpoint, and bind the signatures to its tensors."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, replace
from typing import Any, Iterator, Tuple

from ckpt2saved.checkpoint.contents import (
    AVERAGE,
    Checkpoint,
    Naming,
    Weights,
    choose_weights,
    choose_weights_of_each,
    served_as,
)
from ckpt2saved.checkpoint.reading import restore
from ckpt2saved.checkpoint.roles import has_slots, with_roles, without_slots
from ckpt2saved.checkpoint.variables import add_restore, graph_variables
from ckpt2saved.errors.problem import Note, listed
from ckpt2saved.graph.graph_def import clear_devices, devices_of, nodes_of, pinned_text
from ckpt2saved.graph.tf1 import open_session, tf
from ckpt2saved.rewrites.found import Edit
from ckpt2saved.saved_model.writing import ServingGraph, bind_signatures, cut_down
from ckpt2saved.signature.model import ServedModel
from ckpt2saved.signature.renaming import Renaming
from ckpt2saved.sources.composition import composed, network_model
from ckpt2saved.sources.fitting import refuse_loops
from ckpt2saved.sources.graph_plan import GraphPlan
from ckpt2saved.sources.loaded import LoadedGraph, imported
from ckpt2saved.sources.restored import Import


@dataclass(frozen=True)
class BoundGraph:
    """A graph with its signatures and the source of each variable; nothing is restored yet."""

    graph: tf.Graph
    model: ServedModel
    weights: Weights
    serving: ServingGraph
    restore_def: Any  # the SaverDef that restores from the checkpoint
    edits: Tuple[Edit, ...]  # changes to the graph of the training
    notes: Tuple[Note, ...]  # for the user
    devices: str  # which nodes were pinned to which devices, now cleared
    imports: Tuple[Import, ...] = ()  # to fill the lookup tables that the checkpoint contains
    unused: Tuple[str, ...] = ()  # the input tensors that no output depends on

    def fill(self, checkpoint: Checkpoint, session: tf.Session) -> None:
        """Restore the variables and lookup tables of a session from the checkpoint."""
        if self.weights.keys:
            restore(session, self.restore_def, checkpoint, self.weights)
        if self.imports:
            reader = tf.train.NewCheckpointReader(checkpoint.files.for_tensorflow)
            for one in self.imports:
                one.run(session, reader)
        if self.serving.init_op:
            session.run(self.serving.init_op)

    @contextlib.contextmanager
    def session(self, checkpoint: Checkpoint) -> Iterator[tf.Session]:
        """A session of the graph, restored from the checkpoint."""
        with open_session(self.graph) as session:
            self.fill(checkpoint, session)
            yield session


def bind(plan: GraphPlan, checkpoint: Checkpoint) -> BoundGraph:
    """Load the graph of `plan` for a checkpoint, match its variables and bind the signatures."""
    loaded = composed(plan.source.load(checkpoint, network_model(plan.model)), plan.model)
    variables = graph_variables(loaded.graph)
    surgery = plan.model.surgery
    kind = plan.weights if plan.weights != "auto" else surgery.weights or "auto"
    rename = Renaming(surgery.renames)
    naming = Naming(
        rename=rename,
        saved=loaded.saved,
        untrained=frozenset({v.name for v in variables} - loaded.trained if loaded.trained else ()),
    )
    if loaded.networks:
        weights = choose_weights_of_each(loaded.networks, checkpoint, variables, kind, naming)
    else:
        weights = choose_weights(checkpoint, variables, kind, naming, must_choose=loaded.is_training)
    tables, imports = loaded.restored.bound(checkpoint, loaded.graph, rename)
    weights = replace(weights, tables=tables)
    signatures = bind_signatures(loaded.model, loaded.tensors, loaded.graph)
    if not loaded.is_training:
        named = [(where, spec.tensor) for one in signatures.values() for where, spec in one.fields]
        refuse_loops(plan.model.source, loaded.graph.as_graph_def(), named)
    # Two ways to restore: the served one uses the names of variables, the other the names in the checkpoint.
    own_names = {name: name for name in weights.keys}
    own_tables = {name: served_as(name) for name in tables}
    served = add_restore(loaded.graph, own_names, tables=own_tables)
    restore_def = add_restore(loaded.graph, weights.keys, weights.slices)
    graph_def = loaded.graph.as_graph_def()
    serving = cut_down(
        ServingGraph(
            graph_def=graph_def,
            saver_def=served,
            signatures=signatures,
            init_op=loaded.init_op,
            assets=loaded.assets,
            is_for_gpu=loaded.model.surgery.keeps_cudnn,
        )
    )
    devices, graph = loaded.devices, loaded.graph
    if devices is None:  # a graph from a builder: without devices it also runs on this machine
        devices = devices_of(graph_def)
        if devices:
            clear_devices(graph_def)
            graph = imported(graph_def)
    pinned = pinned_text(devices, [node.name for node in nodes_of(serving.graph_def)])
    return BoundGraph(
        graph=graph,
        model=loaded.model,
        weights=weights,
        serving=serving,
        restore_def=restore_def,
        edits=loaded.edits,
        notes=loaded.notes + _untrained(checkpoint, weights, loaded),
        devices=pinned,
        imports=imports,
        unused=loaded.unused,
    )


def _untrained(checkpoint: Checkpoint, weights: Weights, loaded: LoadedGraph) -> Tuple[Note, ...]:
    """A note on variables that no optimizer trained, such as those of a validation tower.

    A variable was trained if the checkpoint has optimizer slots for it, or if an optimizer in the graph updates it:
    plain gradient descent has no slots.
    """
    if not loaded.is_training:
        return ()
    dtypes = {name: (dtype.name, dtype.size or 0) for name, dtype in checkpoint.dtypes.items()}
    names = {re.sub(AVERAGE + r"\Z", "", key): variable for variable, key in weights.keys.items()}
    roles = with_roles(checkpoint.shapes, dtypes)
    slotted = has_slots(roles)
    if not slotted and not loaded.trained & set(weights.keys):
        return ()
    spared = loaded.trained | set(loaded.averages)
    left = [name for name in without_slots(sorted(names), roles) if names[name] not in spared]
    if not left:
        return ()
    text = (
        f"{'no optimizer slots' if slotted else 'no updates by an optimizer'} for {listed(left, 3)}, as"
        " there are for others: frozen, or of a tower that was never trained?"
    )
    return (Note("untrained-variable", "", text),)
