"""Inspect a checkpoint, a training's graph or a SavedModel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Optional, Sequence, Tuple

from ckpt2saved.checkpoint.contents import Checkpoint, open_checkpoint
from ckpt2saved.checkpoint.index import index_of, is_cut_off
from ckpt2saved.checkpoint.objects import read_objects
from ckpt2saved.checkpoint.savers import saved_as
from ckpt2saved.errors import CheckpointError
from ckpt2saved.errors.problem import Note
from ckpt2saved.graph.graph import Node
from ckpt2saved.graph.kernel_table import Device
from ckpt2saved.graph.meta_graph import read_meta_graph
from ckpt2saved.graph.shapes import foreign_nodes, with_shapes
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.inspection.forcing import settled_nodes
from ckpt2saved.inspection.graph_report import GraphReport, report_graph
from ckpt2saved.inspection.proposal import command_line
from ckpt2saved.inspection.saved import SavedModelReport, read_saved_model
from ckpt2saved.inspection.subject import FROZEN, Subject
from ckpt2saved.inspection.training_graph import TrainingGraph
from ckpt2saved.inspection.variables import Fit, VariableReport, report_variables
from ckpt2saved.rewrites.analyses.whole_training import WholeTraining
from ckpt2saved.sources.restored import saved_tables


@dataclass(frozen=True)
class Inspection:
    """The result of an inspection."""

    subject: Subject
    graph: Optional[GraphReport]
    checkpoint: Optional[VariableReport]
    saved_model: Optional[SavedModelReport]
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
        """Why `export` would refuse the proposed command, and what to do; "" if no reason is known."""
        graph, held = self.graph, self.checkpoint
        if graph is None or graph.proposal is None:
            return ""
        if graph.problems:
            return "no command: export would refuse it because of the problems below"
        missing = len(held.missing_needed) + len(held.misshapen) if held else 0
        if missing:
            return (
                f"export would refuse this: {missing} variables of the graph are not in this checkpoint, or in another"
                " shape; pass the .meta of the same training (--graph FILE.meta), or --map where only the names differ"
            )
        if any(switch.is_open for switch in graph.switches) or any(s.sizes is None for s in graph.proposal.inputs):
            return "after you add the choices marked with choose:"
        return ""


def inspect_subject(subject: Subject, device: Optional[Device] = None) -> Inspection:
    """Inspect everything that `subject` has; a part that cannot be read becomes a remark if another can.

    `device` is what the servers of a SavedModel compute on, as of `report_on`.
    """
    if subject.saved_model:
        return Inspection(
            subject=subject,
            graph=None,
            checkpoint=None,
            saved_model=read_saved_model(subject.saved_model, device),
            remarks=subject.remarks,
        )
    remarks = list(subject.remarks)
    checkpoint = open_checkpoint(subject.checkpoint) if subject.checkpoint else None
    meta_graph, training = None, None
    if subject.meta:
        try:
            meta_graph = read_meta_graph(subject.meta)
            whole = WholeTraining(meta_graph.graph_def, meta_graph.shapes)
            foreign = foreign_nodes(whole.graph)
            training = TrainingGraph(with_shapes(whole.graph, meta_graph), whole, foreign)
            shapes = checkpoint.variables() if checkpoint else {}
            settled = settled_nodes(training, shapes) if whole.labels.forced else ()
            training = TrainingGraph(training.graph, whole, foreign, settled) if settled else training
            remarks += _foreign(foreign)
        except CheckpointError as error:
            if checkpoint is None:
                raise
            remarks.append(Note("unread-meta", "", str(error)))
    elif checkpoint and checkpoint.is_object_based:
        remarks.append(_of_objects(checkpoint))
    elif subject.checkpoint:
        remarks.append(
            Note(
                "no-meta",
                "",
                f"there is no {subject.checkpoint.name}.meta, so the graph is unknown",
                "export with a built-in model (--model crnn, ctpn), or copy the .meta file of the training here",
            )
        )
    saved = saved_as(meta_graph.graph_def) if meta_graph else {}
    tables = saved_tables(meta_graph.graph_def).values() if meta_graph else ()
    fit = Fit(checkpoint, training, saved, {name for table in tables for name in table.names})
    graph = report_graph(meta_graph, training, fit) if meta_graph and training else None
    variables = report_variables(checkpoint, training, fit, graph.served if graph else ()) if checkpoint else None
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
    """A note on how to export an object-based checkpoint, which has no graph."""
    try:
        under_root = read_objects(checkpoint).root_text
    except CheckpointError as error:
        return Note("object-based", "", str(error))
    return Note(
        "object-based",
        "",
        f"written by tf.train.Checkpoint or Keras: it has objects (under its root: {under_root}) and no graph",
        "export it with --graph MODULE:FUNCTION, a function of yours that returns the tf.Module or Keras model,"
        " --python-path DIRECTORY where that module is, --input NAME[batch,…] with the shape, and --output output",
    )


def _foreign(nodes: Sequence[Node]) -> List[Note]:
    if not nodes:
        return []
    more = f" and {len(nodes) - 1} more" if len(nodes) > 1 else ""
    ops = ", ".join(sorted({node.op for node in nodes}))
    found = f"TensorFlow {tf.VERSION} has no op {ops}: left out, and everything that depends on {nodes[0].name}{more}"
    return [Note("unknown-op", "", found)]
