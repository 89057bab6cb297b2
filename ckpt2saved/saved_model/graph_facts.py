"""What a saved_model.pb says by itself: what keeps a server from loading it or answering, and what else it needs."""

from __future__ import annotations

import functools
import hashlib
import os
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO, Dict, List, Sequence, Tuple

from ckpt2saved.files.reading import PathLike, open_file, size_of
from ckpt2saved.graph.names import node_name
from ckpt2saved.graph.ops import PYTHON
from ckpt2saved.protobuf.wire import Malformed
from ckpt2saved.saved_model.loading import Doings, Restored, follow, init_op
from ckpt2saved.saved_model.reading import GRAPH_FILE, LARGEST_PROTOBUF, MetaGraph, SavedModelFile
from ckpt2saved.saved_model.structure import check_structure
from ckpt2saved.signature.tensors import Signature

DEFAULT_SIGNATURE = "serving_default"
METHODS = tuple("tensorflow/serving/" + method for method in ("predict", "classify", "regress"))

_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_MOST_NAMES = 5  # in one message; the rest are counted
_REMEMBERED = 64  # graphs; most versions of a model have the same one
_PIECE = 1 << 20


@dataclass(frozen=True)
class GraphFacts:
    """What the meta graph that TF Serving takes comes to."""

    problems: Tuple[str, ...]
    restored: Tuple[Restored, ...]  # what it reads from the variables
    restores: bool  # whether it reads variables at all
    assets: Tuple[str, ...]  # the names of its files in assets/


def read_graph_facts(directory: PathLike) -> GraphFacts:
    """Read and judge the saved_model.pb of a directory; OSError where it can't be read."""
    with open_file(os.path.join(directory, GRAPH_FILE)) as file:
        size = size_of(file)
        if size > LARGEST_PROTOBUF:
            return _only(f"{GRAPH_FILE}: {size} bytes, and protobuf reads no message of 2 GiB or more; export it again")
        digest = hashlib.blake2b(digest_size=16)
        for piece in iter(functools.partial(file.read, _PIECE), b""):
            digest.update(piece)
        key = digest.digest()
        if key not in _known:
            while len(_known) >= _REMEMBERED:
                _known.pop(next(iter(_known)))
            _known[key] = _judged(directory, file, size)
        return _known[key]


_known: Dict[bytes, GraphFacts] = {}


def is_lfs_pointer(file: BinaryIO) -> bool:
    """Whether Git LFS left its pointer in place of the file."""
    file.seek(0)
    return file.read(len(_LFS_POINTER)) == _LFS_POINTER


def lfs_problem(name: str) -> str:
    """The problem with a file that Git LFS has not fetched."""
    return f"{name}: a Git LFS pointer, and not the file itself; fetch it with git lfs pull"


def wrong_tags(name: str, tags: Sequence[Sequence[str]]) -> str:
    """That no meta graph of the file is for TF Serving, with the tags of each."""
    if not any(tags):
        text = (
            "{}: no meta graph has a tag, as in a GraphDef that was renamed; TF Serving takes one with the tag serve; "
        )
        return (text + "export a SavedModel").format(name)
    text = (
        "{}: no meta graph is tagged 'serve' and nothing else, so TF Serving loads none; the tags are: {}; export it "
    )
    return (text + "with the tag serve").format(
        name, listed([", ".join(sorted(set(found))) or "none" for found in tags])
    )


def no_signature(name: str) -> str:
    """The problem with a SavedModel that has no signature."""
    return (
        f"{name}: it has no signature, so that TF Serving answers no request; export it with a signature"
        f" {DEFAULT_SIGNATURE}"
    )


def listed(names: Sequence[str]) -> str:
    """The first of the names, and how many there are more."""
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


def _judged(directory: PathLike, file: BinaryIO, size: int) -> GraphFacts:
    if not size:
        return _only(GRAPH_FILE + ": empty")
    if is_lfs_pointer(file):
        return _only(lfs_problem(GRAPH_FILE))
    try:
        saved_model = SavedModelFile(directory)
        if not saved_model.tags:
            return _only(f"{GRAPH_FILE}: truncated or of something else: no meta graph in its {size} bytes")
        if saved_model.served is None:
            return _only(wrong_tags(GRAPH_FILE, saved_model.tags))
        check_structure(file, size)
        return _facts(saved_model.served)
    except Malformed as error:
        if str(error):
            return _only(f"{GRAPH_FILE}: {error}, and so no SavedModel of TensorFlow's; export it again")
        return _only(f"{GRAPH_FILE}: truncated after {size} bytes, or damaged; copy it again, whole")


def _only(problem: str) -> GraphFacts:
    return GraphFacts((problem,), (), False, ())


def _facts(meta_graph: MetaGraph) -> GraphFacts:
    problems = _graph_problems(meta_graph)
    signatures = {name: one for name, one in meta_graph.signatures.items() if not name.startswith("__")}
    problems += _signature_problems(signatures, meta_graph)
    problems += _asset_problems(meta_graph)
    run = init_op(meta_graph)
    key_nodes = [(run, "what is run after loading")]
    if meta_graph.restore_op:
        key_nodes.append(((meta_graph.restore_op, meta_graph.file_name_tensor), "what restores the variables"))
    for names, what in key_nodes:
        missing = [name for name in names if node_name(name) not in meta_graph.nodes]
        if missing:
            problems.append(f"{GRAPH_FILE}: {listed(missing)} ({what}) is no node of the graph; export it again")
    if len(run) > 1:
        problems.append(
            f"{GRAPH_FILE}: {len(run)} nodes are to be run after loading, and TF Serving takes one; export it again"
        )
    restoring = (meta_graph.restore_op,) if meta_graph.restore_op else ()
    loading = follow(meta_graph, restoring + run)
    outputs = [bound.tensor for one in signatures.values() for bound in one.outputs if bound.tensor]
    answering = follow(meta_graph, outputs)
    problems += _table_problems(loading, answering)
    problems += _uninitialized(loading, answering)
    problems += _path_problems(loading, answering)
    return GraphFacts(
        tuple(dict.fromkeys(problems)),
        tuple(loading.restored[name] for name in sorted(loading.restored)),
        bool(meta_graph.restore_op),
        tuple(dict.fromkeys(asset.name for asset in meta_graph.assets)),
    )


def _graph_problems(meta_graph: MetaGraph) -> List[str]:
    problems = []
    dangling = []
    for node in meta_graph.nodes.values():
        dangling += [(node.name, one) for one in node.inputs if node_name(one) not in meta_graph.nodes]
    if dangling:
        text = "{}: {}: no node of the graph, and inputs of {}; export it again"
        sources = listed(sorted({node_name(source) for _, source in dangling}))
        problems.append(text.format(GRAPH_FILE, sources, listed(sorted({name for name, _ in dangling}))))
    if meta_graph.duplicates:
        problems.append(
            f"{GRAPH_FILE}: {listed(sorted(meta_graph.duplicates))}: several nodes of one name; export it again"
        )
    python = sorted(f"{name} ({node.op})" for name, node in meta_graph.every_node() if node.op in PYTHON)
    if python:
        problems.append(
            f"{GRAPH_FILE}: {listed(python)}: it calls Python, and TF Serving has none; export a graph without it"
        )
    return problems


def _signature_problems(signatures: Dict[str, Signature], meta_graph: MetaGraph) -> List[str]:
    if not signatures:
        return [no_signature(GRAPH_FILE)]
    reasons = {name: _unusable(signature, meta_graph) for name, signature in signatures.items()}
    # A model may have one signature for people to call in Python, and another for the server.
    if all(reasons.values()) or reasons.get(DEFAULT_SIGNATURE):
        return [f"{GRAPH_FILE}: signature {name}: {reasons[name]}" for name in sorted(reasons) if reasons[name]]
    return []


def _unusable(signature: Signature, meta_graph: MetaGraph) -> str:
    """Why every request for the signature fails; "" if that can't be said."""
    if not signature.outputs:
        return "it has no output"
    unnamed = [bound.key for bound in signature.inputs + signature.outputs if not bound.tensor]
    if unnamed:
        return (
            f"{listed(unnamed)}: no tensor name (a SparseTensor bound whole?), so that every request fails; bind its"
            " parts"
        )
    bound = [one.tensor for one in signature.inputs + signature.outputs]
    missing = [tensor for tensor in bound if node_name(tensor) not in meta_graph.nodes]
    if missing:
        return f"{listed(missing)}: not in the graph, so that every request fails; export it again"
    if not signature.method:
        return "it has no method name, and TF Serving up to 2.3 refuses requests; expected " + METHODS[0]
    return ""


def _asset_problems(meta_graph: MetaGraph) -> List[str]:
    problems = []
    for asset in meta_graph.assets:
        tensor, name = asset.tensor, asset.name
        path = PurePosixPath(name)
        if not name or path.is_absolute() or ".." in path.parts:
            problems.append(
                f"{GRAPH_FILE}: the asset {name!r} lies outside of assets/, and TF Serving reads it from there; export"
                " it again"
            )
        if node_name(tensor) not in meta_graph.nodes:
            problems.append(
                f"{GRAPH_FILE}: the tensor {tensor!r} of the asset {name} is not in the graph; export it again"
            )
    return problems


def _table_problems(loading: Doings, answering: Doings) -> List[str]:
    if loading.fills_unknown or answering.fills_unknown or not (loading.is_complete and answering.is_complete):
        return []
    empty = [name for key, name in answering.asked.items() if key not in loading.filled | answering.filled]
    if not empty:
        return []
    text = "{}: lookup table {}: nothing fills it when the SavedModel is loaded, so that requests that look something "
    text += "up in it fail with 'Table not initialized' or find nothing; export with main_op=tf.tables_initializer()"
    return [text.format(GRAPH_FILE, listed(sorted(empty)))]


def _uninitialized(loading: Doings, answering: Doings) -> List[str]:
    if not (loading.is_complete and answering.is_complete):
        return []
    known = loading.touched | set(loading.variables) | answering.touched
    names = [name for key, name in answering.variables.items() if key not in known]
    if not names:
        return []
    text = "{}: variable {}: nothing restores or initializes it when the SavedModel is loaded, so that requests fail; "
    text += "export it with its variables"
    return [text.format(GRAPH_FILE, listed(sorted(names)))]


def _path_problems(loading: Doings, answering: Doings) -> List[str]:
    text = "{}: {} reads {!r}, which is no file of the SavedModel's assets, and is not there on a server; export it as "
    text += "an asset (tf.saved_model.Asset, or the collection asset_filepaths)"
    files = {**answering.files, **loading.files}
    return [text.format(GRAPH_FILE, node, path) for path, node in sorted(files.items())]
