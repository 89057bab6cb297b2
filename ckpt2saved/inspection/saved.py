"""Inspect a SavedModel: signatures, content, and the problems that a server would have."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ckpt2saved.checkpoint import roles
from ckpt2saved.checkpoint.contents import open_checkpoint
from ckpt2saved.checkpoint.files import find_checkpoint
from ckpt2saved.compatibility.fit import kernel_problems
from ckpt2saved.errors import CheckpointError, NotServable
from ckpt2saved.errors.problem import Note, Problem
from ckpt2saved.files.reading import open_file
from ckpt2saved.graph.graph_def import called_functions, devices_of, nodes_of, pinned_text, pruned
from ckpt2saved.graph.kernel_table import Device
from ckpt2saved.graph.names import node_name
from ckpt2saved.graph.ops import CTC_DECODERS, TABLES
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.inspection.decoders import settings_of, settings_text
from ckpt2saved.requests.batching import keys_without_batch, without_batch_text
from ckpt2saved.rewrites.lint import check_servable
from ckpt2saved.saved_model.parsing import parse_saved_model
from ckpt2saved.saved_model.reading import signature_of
from ckpt2saved.signature.tensors import Signature
from ckpt2saved.versions import read_provenance, recorded_without_batch
from ckpt2saved.versions.health import content_problems


@dataclass(frozen=True)
class SavedModelReport:
    """The content and the problems of a SavedModel."""

    directory: Path
    tags: Tuple[str, ...]
    tensorflow: str
    nodes: int
    signatures: Tuple[Signature, ...]
    decoders: Tuple[str, ...]
    tables: Tuple[str, ...]
    variables: Tuple[roles.Variable, ...]
    provenance: Optional[Mapping[str, Any]]
    problems: Tuple[Problem, ...]
    notes: Tuple[Note, ...]


def read_saved_model(directory: Path, device: Optional[Device] = None) -> SavedModelReport:
    """Read the meta graph that TF Serving would load; raises CheckpointError for a file that is no SavedModel."""
    return report_on(directory, parse_saved_model(directory), content_problems(directory), device)


def report_on(
    directory: Path, saved_model: Any, of_files: Sequence[Problem], device: Optional[Device] = None
) -> SavedModelReport:
    """Report on the SavedModel message of a directory; `of_files` are problems that were found in its files.

    `device` is what its servers compute on, by default what the version records, or the CPU.
    """
    tagged = [m for m in saved_model.meta_graphs if tf.saved_model.SERVING in m.meta_info_def.tags]
    meta_graph = (tagged or list(saved_model.meta_graphs))[0]
    dangling = _dangling(meta_graph.graph_def)
    nodes = [] if dangling else _served_nodes(meta_graph)
    problems = list(of_files)
    is_text = not (directory / "saved_model.pb").is_file()  # content_problems does not parse it
    problems += dangling if is_text else []
    if not tagged and is_text:
        tags = [", ".join(m.meta_info_def.tags) or "none" for m in saved_model.meta_graphs]
        found = f"no meta graph is tagged 'serve', so TF Serving loads none; the tags are: {'; '.join(tags)}"
        problems.append(Problem("tag-missing", "", found))
    signatures = tuple(
        _told(signature_of(name, d))
        for name, d in sorted(meta_graph.signature_def.items())
        if not name.startswith("__")
    )
    problems += _signature_problems(signatures)
    pinned = pinned_text(devices_of(meta_graph.graph_def), [node.name for node in nodes_of(meta_graph.graph_def)])
    notes = []
    if pinned:
        found = f"{pinned}: a server without this device cannot load the graph"
        notes.append(Note("pinned-device", "", found, "export it again"))
    try:
        check_servable(tf.GraphDef(node=nodes))
    except NotServable as error:
        # The table of kernels knows more of a file that it can read: types, devices and nodes that no signature runs.
        problems += [problem for problem in error.problems if is_text or problem.code != "no-kernel"]
    problems += kernel_problems(directory, tf.version.VERSION, device)
    return SavedModelReport(
        directory=directory,
        tags=tuple(meta_graph.meta_info_def.tags),
        tensorflow=meta_graph.meta_info_def.tensorflow_version,
        nodes=len(meta_graph.graph_def.node),
        signatures=signatures,
        decoders=tuple(
            f"{node.name} ({node.op}: {settings_text(settings_of(node))})" for node in nodes if node.op in CTC_DECODERS
        ),
        tables=tuple(node.name for node in nodes if node.op in TABLES),
        variables=tuple(_variables(directory)),
        provenance=read_provenance(directory),
        problems=tuple(problems),
        notes=tuple(notes + _batching_notes(directory, signatures)),
    )


def _dangling(graph_def: Any) -> List[Problem]:
    there = {node.name for node in graph_def.node}
    return [
        Problem("dangling-input", node.name, f"its input {source} is no node of the graph")
        for node in graph_def.node
        for source in node.input
        if node_name(source) not in there
    ]


def _batching_notes(directory: Path, signatures: Sequence[Signature]) -> List[Note]:
    seen = recorded_without_batch(directory)
    notes = []
    for signature in signatures:
        keys = keys_without_batch(signature, seen.get(signature.name, ()))
        notes += [Note("no-batching", signature.name, without_batch_text(keys))] if keys else []
    return notes


def _served_nodes(meta_graph: Any) -> List[Any]:
    """The nodes that the signatures run, also in functions; a Keras model has others, for training."""
    graph_def = meta_graph.graph_def
    there = {node.name for node in graph_def.node}
    tensors = [info.name for d in meta_graph.signature_def.values() for info in d.outputs.values()]
    ends = {node_name(tensor) for tensor in tensors} & there
    functions = {function.signature.name: function for function in graph_def.library.function}
    found = list(pruned(graph_def, ends).node)
    return found + [inner for name in called_functions(found, functions) for inner in functions[name].node_def]


def _told(signature: Signature) -> Signature:
    """The signature with dtype `unknown` for tensors without one."""
    sides = [
        tuple(replace(spec, dtype=spec.dtype or "unknown") for spec in side)
        for side in (signature.inputs, signature.outputs)
    ]
    return replace(signature, inputs=sides[0], outputs=sides[1])


def _signature_problems(signatures: Tuple[Signature, ...]) -> List[Problem]:
    found: List[Problem] = []
    if not any(signature.method for signature in signatures):
        found.append(Problem("no-signature", "", "it has no signature, so TF Serving cannot answer any request"))
    for signature in signatures:
        for served in signature.inputs + signature.outputs:
            if not served.tensor:
                text = "it has no tensor name (a SparseTensor?), and every request for it fails"
                found.append(Problem("unnamed-tensor", f"{signature.name}.{served.key}", text))
    return found


def _variables(directory: Path) -> List[roles.Variable]:
    try:
        open_file(directory / "variables" / "variables.index").close()  # TensorFlow would wait for a pipe
        checkpoint = open_checkpoint(find_checkpoint(directory / "variables" / "variables"))
    except (CheckpointError, OSError):
        return []  # no variables, or damaged ones, which content_problems reports
    widths: Dict[str, Tuple[str, int]] = {}
    for name, dtype in checkpoint.dtypes.items():
        widths[name] = (dtype.base_dtype.name, 0 if dtype.base_dtype.name == "string" else dtype.base_dtype.size)
    return roles.with_roles(checkpoint.shapes, widths)
