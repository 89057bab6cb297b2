"""Check the name, files and graph of a version directory for reasons why TF Serving would not serve it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Collection, Dict, List, Mapping, Optional, Sequence, Tuple

from ckpt2saved.compatibility.fit import origin_text
from ckpt2saved.errors import CheckpointError, ServingError
from ckpt2saved.errors.problem import Note, Problem, listed
from ckpt2saved.files.shell_words import for_shell
from ckpt2saved.graph.contrib import register_ops
from ckpt2saved.graph.graph_def import nodes_of
from ckpt2saved.graph.kernel_table import Device
from ckpt2saved.graph.op_table import shipped_table
from ckpt2saved.graph.tf1 import op_def, tf
from ckpt2saved.inspection.saved import report_on
from ckpt2saved.requests.batching import keys_without_batch, without_batch_text
from ckpt2saved.requests.warm_up.file import BrokenWarmUpFile, read_warm_up_requests
from ckpt2saved.saved_model.judgement import MOST_RECORDS, WARMUP_FILE, judge_warmup
from ckpt2saved.saved_model.parsing import parse_saved_model
from ckpt2saved.saved_model.reading import GRAPH_FILE, read_signatures
from ckpt2saved.server_config.version_batching import batching_problems
from ckpt2saved.signature.tensors import DEFAULT_SIGNATURE
from ckpt2saved.versions import numbered_children, parse_version, recorded_without_batch
from ckpt2saved.versions.content import is_altered
from ckpt2saved.versions.health import access_problems, content_problems

_METHODS = tuple("tensorflow/serving/" + method for method in ("predict", "classify", "regress"))
_CPU = re.compile(r"(.*/)?(device:)?CPU:\*?0?\Z", re.IGNORECASE)


@dataclass(frozen=True)
class Findings:
    """Problems and notes of a version."""

    problems: Tuple[Problem, ...] = ()
    notes: Tuple[Note, ...] = ()
    is_complete: bool = True  # False: the files are missing or damaged, so that the version cannot be loaded


def check_version(directory: Path, device: Optional[Device] = None) -> Findings:
    """Check name, files and content of a version; `device` is what its servers compute on, as of `report_on`."""
    name = check_name(directory)
    of_saved_model = content_problems(directory, warmup=False)
    broken = of_saved_model + judge_warmup(directory)
    try:
        content = check_content(directory, broken, device)
    except CheckpointError:
        if not broken:
            raise
        content = Findings()  # the content cannot be parsed, which `broken` already reports
    closed = tuple(problem.as_note() for problem in access_problems(directory)) + _altered(directory)
    problems = tuple(dict.fromkeys(name.problems + broken + content.problems + batching_problems(directory)))
    return Findings(problems, name.notes + closed + content.notes, is_complete=not of_saved_model)


def _altered(directory: Path) -> Tuple[Note, ...]:
    try:
        altered = is_altered(directory)
    except OSError:
        return ()  # content_problems says so
    found = "its files are not those that were published"
    remedy = "publish changed files as a version of their own, with ckpt2saved bump-version BASE --from DIR"
    return (Note("altered-files", directory.name, found, remedy),) if altered else ()


def check_name(directory: Path) -> Findings:
    """Check that TF Serving recognizes the directory as a version, and as the one with its number."""
    absolute = Path(os.path.abspath(str(directory)))
    name, base = absolute.name, absolute.parent
    number = parse_version(name)
    if number is None:
        found = "TF Serving ignores a directory with this name"
        remedy = f"expected a number, as ckpt2saved bump-version BASE --from {for_shell(directory)} gives it"
        return Findings(problems=(Problem("not-a-version-number", name, found, remedy),))
    if number < 0:
        found = "the number is negative, which TF Serving does not load"
        return Findings(problems=(Problem("negative-number", name, found),))
    others = [child.path.name for child in numbered_children(base) if child.number == number]
    if others and others[-1] != name:
        found = f"TF Serving loads {others[-1]} for this number instead"
        return Findings(problems=(Problem("duplicate-number", name, found),))
    if name.lstrip().startswith("+"):
        found = "TF Serving before 2.19 ignores a name with a sign"
        return Findings(notes=(Note("sign-in-number", name, found),))
    if name != str(number):
        return Findings(notes=(Note("other-spelling", name, f"TF Serving counts it as version {number}"),))
    return Findings()


def check_content(directory: Path, of_files: Sequence[Problem], device: Optional[Device] = None) -> Findings:
    """Check the content of a SavedModel; `of_files` are known problems. Raises CheckpointError if parsing fails."""
    problems: List[Problem] = []
    notes: List[Note] = []
    saved_model = parse_saved_model(directory)
    report = report_on(directory, saved_model, of_files, device)
    problems += report.problems
    if not any(problem.where == WARMUP_FILE for problem in problems):
        _check_warmup(directory, problems, notes)
    served = [m for m in saved_model.meta_graphs if _tags(m) == [tf.saved_model.SERVING]]
    if not served and "serve" in report.tags and not report.problems:
        found = f"the tags are {', '.join(report.tags)}: TF Serving takes a meta graph with the tag serve and no other"
        problems.append(Problem("tag-missing", "", found))
    for meta_graph in served:
        problems += _node_problems(meta_graph)
    names = [signature.name for signature in report.signatures]
    if DEFAULT_SIGNATURE not in names:
        found = f"there is no signature {DEFAULT_SIGNATURE}, so that a request has to name one of"
        notes.append(Note("no-default-signature", "", f"{found} {', '.join(names) or 'none'}"))
    for signature in report.signatures:
        if signature.method not in _METHODS and signature.outputs:
            found = f"the method name is {signature.method!r}, and TF Serving up to 2.3 answers only {_METHODS[0]}"
            problems.append(Problem("method-name", signature.name, found))
    return Findings(tuple(problems), tuple(notes))


def _check_warmup(directory: Path, problems: List[Problem], notes: List[Note]) -> None:
    try:
        count = len(read_warm_up_requests(directory))
    except BrokenWarmUpFile as error:
        problems.append(Problem("damaged-file", "", str(error)))
    except ServingError as error:
        notes.append(Note("unread-warmup", "", str(error)))
    else:
        if count > MOST_RECORDS:
            found = f"{count} requests, and TF Serving takes {MOST_RECORDS} at most"
            problems.append(Problem("too-many-warmup-requests", WARMUP_FILE, found))


def batching_notes(directory: Path, seen: Mapping[str, Collection[str]] = {}) -> Tuple[Note, ...]:
    """A note for each signature that cannot be used with --enable_batching.

    `seen`: signature -> outputs whose first dimension was not the batch size; those recorded by the export are added.
    """
    found = keys_by_signature(directory, seen)
    return tuple(Note("no-batching", name, without_batch_text(keys)) for name, keys in found.items())


def keys_by_signature(directory: Path, seen: Mapping[str, Collection[str]] = {}) -> Dict[str, List[str]]:
    """Signature -> its inputs and outputs without a batch dimension, if any; {} for a saved_model.pbtxt."""
    if not (directory / GRAPH_FILE).is_file():
        return {}
    recorded = recorded_without_batch(directory)
    found = {
        name: list(keys_without_batch(signature, set(seen.get(name, ())) | set(recorded.get(name, ()))))
        for name, signature in read_signatures(directory).items()
        if not name.startswith("__")
    }
    return {name: keys for name, keys in found.items() if keys}


def _tags(meta_graph: Any) -> List[str]:
    return sorted(set(meta_graph.meta_info_def.tags))


def _node_problems(meta_graph: Any) -> List[Problem]:
    """Problems of all nodes: a server places every node, even if no signature needs it."""
    graph_def = meta_graph.graph_def
    functions = {function.signature.name for function in graph_def.library.function}
    register_ops(node.op for node in nodes_of(graph_def))
    pinned: List[str] = []
    unknown: List[str] = []
    origins: Dict[str, str] = {}
    for node in nodes_of(graph_def):
        if node.device and not _CPU.match(node.device):
            pinned.append(f"{node.name} ({node.device})")
        if node.op not in functions and op_def(node.op) is None:
            unknown.append(f"{node.name} ({node.op})")
            origins[node.op] = origin_text(node.op, shipped_table())
    problems = []
    if pinned:
        found = "tied to a device, and a server without it does not load the graph"
        problems.append(Problem("pinned-device", listed(pinned), found, "export with clear_devices"))
    if unknown:
        written = meta_graph.meta_info_def.tensorflow_version or "one that does not say so"
        where = "; ".join(f"{op}: {origins[op]}" for op in sorted(origins))
        found = f"no op of this TensorFlow, {tf.version.VERSION}, nor of a server of its release"
        remedy = f"the graph was written by {written} ({where})"
        problems.append(Problem("unknown-op", listed(unknown), found, remedy))
    return problems
