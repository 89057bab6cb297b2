"""Problems of a saved_model.pb that keep a server from loading or answering, and the files that it needs."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO, Dict, List, Optional, Sequence, Tuple

from ckpt2saved.errors.problem import Problem, listed
from ckpt2saved.files.kinds import begins_as_lfs_pointer
from ckpt2saved.files.protobuf.wire import Malformed
from ckpt2saved.files.reading import PathLike, TooLarge, size_of
from ckpt2saved.graph.names import node_name
from ckpt2saved.graph.ops import PYTHON
from ckpt2saved.saved_model.loading import Effects, Restored, follow, init_op
from ckpt2saved.saved_model.reading import GRAPH_FILE, MetaGraph, SavedModelFile
from ckpt2saved.saved_model.structure import check_structure
from ckpt2saved.signature.tensors import DEFAULT_SIGNATURE, PREDICT, Signature

_EXPORT = "export it again"
_REMEMBERED = 64  # graphs; most versions of a model have the same one
_PIECE = 1 << 20


@dataclass(frozen=True)
class GraphFacts:
    """The problems of the meta graph that TF Serving loads, and the files that it needs."""

    problems: Tuple[Problem, ...]
    restored: Tuple[Restored, ...]  # tensors that it restores
    restores: bool  # whether it restores variables
    assets: Tuple[str, ...]  # the names of its files in assets/


def read_graph_facts(directory: PathLike) -> GraphFacts:
    """Read and check the saved_model.pb of a directory; raises OSError if it can't be read."""
    saved_model = SavedModelFile(directory)
    try:
        with saved_model.opened() as file:
            digest = hashlib.blake2b(digest_size=16)
            for piece in iter(functools.partial(file.read, _PIECE), b""):
                digest.update(piece)
            key = digest.digest()
            if key not in _known:
                while len(_known) >= _REMEMBERED:
                    _known.pop(next(iter(_known)))
                _known[key] = _judged(saved_model, file)
            return _known[key]
    except TooLarge as error:
        return _only(Problem("too-large", GRAPH_FILE, str(error.strerror), _EXPORT))


_known: Dict[bytes, GraphFacts] = {}


def lfs_problem(name: str) -> Problem:
    """Return the problem for a Git LFS pointer."""
    return Problem("lfs-pointer", name, "a Git LFS pointer instead of the file", "fetch it with git lfs pull")


def wrong_tags(name: str, tags: Sequence[Sequence[str]]) -> Problem:
    """Return the problem for a file without a meta graph tagged `serve`, with the tags of each."""
    if not any(tags):
        found = "no meta graph has a tag, as in a GraphDef that was renamed; TF Serving takes one with the tag serve"
        return Problem("tag-missing", name, found, "export a SavedModel")
    there = listed([", ".join(sorted(set(found))) or "none" for found in tags])
    found = f"no meta graph is tagged 'serve' and nothing else, so TF Serving loads none; the tags are: {there}"
    return Problem("tag-missing", name, found, "export it with the tag serve")


def no_signature(name: str) -> Problem:
    """Return the problem for a SavedModel without signatures."""
    found = "it has no signature, so that TF Serving answers no request"
    return Problem("no-signature", name, found, f"export it with a signature {DEFAULT_SIGNATURE}")


def _judged(saved_model: SavedModelFile, file: BinaryIO) -> GraphFacts:
    size = size_of(file)
    if not size:
        return _only(Problem("empty-file", GRAPH_FILE, "empty"))
    if begins_as_lfs_pointer(file):
        return _only(lfs_problem(GRAPH_FILE))
    try:
        if not saved_model.tags:
            found = f"truncated or of something else: no meta graph in its {size} bytes"
            return _only(Problem("not-a-saved-model", GRAPH_FILE, found))
        if saved_model.served is None:
            return _only(wrong_tags(GRAPH_FILE, saved_model.tags))
        check_structure(file, size)
        return _facts(saved_model.served)
    except Malformed as error:
        if str(error):
            found = f"{error}, and so not a SavedModel"
            return _only(Problem("not-a-saved-model", GRAPH_FILE, found, _EXPORT))
        found = f"truncated after {size} bytes, or damaged"
        return _only(Problem("damaged-file", GRAPH_FILE, found, "copy the complete file again"))


def _only(problem: Problem) -> GraphFacts:
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
            found = f"{listed(missing)} ({what}) is no node of the graph"
            problems.append(Problem("unknown-tensor", GRAPH_FILE, found, _EXPORT))
    if len(run) > 1:
        found = f"{len(run)} nodes are to be run after loading, and TF Serving takes one"
        problems.append(Problem("several-init-ops", GRAPH_FILE, found, _EXPORT))
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


def _graph_problems(meta_graph: MetaGraph) -> List[Problem]:
    problems = []
    dangling = []
    for node in meta_graph.nodes.values():
        dangling += [(node.name, one) for one in node.inputs if node_name(one) not in meta_graph.nodes]
    if dangling:
        sources = listed(sorted({node_name(source) for _, source in dangling}))
        found = f"{sources}: no node of the graph, and inputs of {listed(sorted({name for name, _ in dangling}))}"
        problems.append(Problem("dangling-input", GRAPH_FILE, found, _EXPORT))
    if meta_graph.duplicates:
        found = f"{listed(sorted(meta_graph.duplicates))}: several nodes of one name"
        problems.append(Problem("duplicate-node", GRAPH_FILE, found, _EXPORT))
    python = sorted(f"{name} ({node.op})" for name, node in meta_graph.every_node() if node.op in PYTHON)
    if python:
        found = f"{listed(python)}: it calls Python, which TF Serving does not have"
        problems.append(Problem("py-func", GRAPH_FILE, found, "export a graph without it"))
    return problems


def _signature_problems(signatures: Dict[str, Signature], meta_graph: MetaGraph) -> List[Problem]:
    if not signatures:
        return [no_signature(GRAPH_FILE)]
    found = {name: _unusable(signature, meta_graph) for name, signature in signatures.items()}
    # A model may have one signature for people to call in Python, and another for the server.
    if all(found.values()) or found.get(DEFAULT_SIGNATURE):
        return [problem for _, problem in sorted(found.items()) if problem]
    return []


def _unusable(signature: Signature, meta_graph: MetaGraph) -> Optional[Problem]:
    """Return why every request for the signature fails; None if that is not certain."""
    where = f"{GRAPH_FILE}: signature {signature.name}"
    if not signature.outputs:
        return Problem("signature-without-output", where, "it has no output")
    unnamed = [bound.key for bound in signature.inputs + signature.outputs if not bound.tensor]
    if unnamed:
        found = f"{listed(unnamed)}: no tensor name (a SparseTensor bound whole?), so that every request fails"
        return Problem("unnamed-tensor", where, found, "bind its parts")
    bound = [one.tensor for one in signature.inputs + signature.outputs]
    missing = [tensor for tensor in bound if node_name(tensor) not in meta_graph.nodes]
    if missing:
        found = f"{listed(missing)}: not in the graph, so that every request fails"
        return Problem("unknown-tensor", where, found, _EXPORT)
    if not signature.method:
        found = "it has no method name, and TF Serving up to 2.3 refuses requests"
        return Problem("method-name", where, found, "expected " + PREDICT)
    return None


def _asset_problems(meta_graph: MetaGraph) -> List[Problem]:
    problems = []
    for asset in meta_graph.assets:
        tensor, name = asset.tensor, asset.name
        path = PurePosixPath(name)
        if not name or path.is_absolute() or ".." in path.parts:
            found = f"the asset {name!r} lies outside of assets/, the only directory from which TF Serving reads assets"
            problems.append(Problem("asset-outside", GRAPH_FILE, found, _EXPORT))
        if node_name(tensor) not in meta_graph.nodes:
            found = f"the tensor {tensor!r} of the asset {name} is not in the graph"
            problems.append(Problem("unknown-tensor", GRAPH_FILE, found, _EXPORT))
    return problems


def _table_problems(loading: Effects, answering: Effects) -> List[Problem]:
    if loading.fills_unknown or answering.fills_unknown or not (loading.is_complete and answering.is_complete):
        return []
    empty = [name for key, name in answering.asked.items() if key not in loading.filled | answering.filled]
    if not empty:
        return []
    found = (
        f"lookup table {listed(sorted(empty))}: nothing fills it when the SavedModel is loaded, so that requests that"
        " look something up in it fail with 'Table not initialized' or find nothing"
    )
    return [Problem("unfilled-table", GRAPH_FILE, found, "export with main_op=tf.tables_initializer()")]


def _uninitialized(loading: Effects, answering: Effects) -> List[Problem]:
    if not (loading.is_complete and answering.is_complete):
        return []
    known = loading.touched | set(loading.variables) | answering.touched
    names = [name for key, name in answering.variables.items() if key not in known]
    if not names:
        return []
    found = (
        f"variable {listed(sorted(names))}: nothing restores or initializes it when the SavedModel is loaded, so that"
        " requests fail"
    )
    return [Problem("uninitialized-variable", GRAPH_FILE, found, "export it with its variables")]


def _path_problems(loading: Effects, answering: Effects) -> List[Problem]:
    files = {**answering.files, **loading.files}
    return [
        Problem(
            "reads-files",
            GRAPH_FILE,
            f"{node} reads {path!r}, which is no file of the SavedModel's assets, and is not there on a server",
            "export it as an asset (tf.saved_model.Asset, or the collection asset_filepaths)",
        )
        for path, node in sorted(files.items())
    ]
