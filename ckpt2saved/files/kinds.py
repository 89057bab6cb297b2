"""Detection of the kinds of files and directories that users pass by mistake, and the remedy for each."""

from __future__ import annotations

import itertools
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Dict, List, Optional

from ckpt2saved.files.protobuf.wire import Malformed, Part, fields, of_file
from ckpt2saved.files.reading import open_file
from ckpt2saved.files.shell_words import for_shell

_READ = 4096  # bytes that tell all kinds but protobuf messages
_MOST_NODES = 2000  # of a graph, looked at for variables
_MOST_FIELDS = 10  # of a node, before its op is known
_LARGEST_GRAPH = 2**31  # bytes, the most that a protobuf message has

EMPTY = "an empty file"
JSON = "a JSON text"
_LFS = b"version https://git-lfs.github.com/spec/"

_OP = re.compile(r"[A-Z_][A-Za-z0-9_.>]*\Z")
_VARIABLES = ("Variable", "VariableV2", "VarHandleOp", "AutoReloadVariable")

_GET_CHECKPOINT = "pass the checkpoint that the training wrote (the files PREFIX.index and PREFIX.data-?????-of-?????)"
TRAINING_GRAPH = "a training's graph"  # what a meta graph is expected to be, in messages
_META_GRAPH = "(MetaGraphDef)"
_FROZEN = "a frozen graph (GraphDef with constants for variables)"
_HDF5 = "an HDF5 file, as Keras saves models and weights"
_KERAS_3 = "a model that Keras 3 saved (.keras)"
_KERAS = (
    "export takes a model as --graph, without --checkpoint, and weights alone (.weights.h5) as --checkpoint, with "
    "--graph MODULE:FUNCTION, a function that returns the Keras model"
)
_OTHER_FRAMEWORK = (
    "convert it with a tool for that format to a SavedModel, and take that in with ckpt2saved bump-version BASE "
    "--from DIR"
)
_AS_GRAPH = "pass it as --graph, and the training's checkpoint as --checkpoint"
_GRAPH_ALONE = (
    "pass the checkpoint of the same training as --checkpoint, and as --graph the .meta file beside that, which has "
    "the graph too"
)
_UNPACK = "unpack it, and pass the path of what was in it"
_AGAIN = "copy or download it again"


@dataclass(frozen=True)
class Kind:
    """The kind of a file or directory, and its remedy."""

    what: str
    remedy: str

    def instead_of(self, expected: str) -> str:
        """Return the end of an error message for a path where `expected` was expected."""
        return f"this is {self.what}, not {expected}: {self.remedy}"


POINTER = Kind(
    "a Git LFS pointer",
    "run 'git lfs pull' in the repository, which fetches the file itself, and then this again",
)


def kind_of(path: Path) -> Optional[Kind]:
    """Return the kind of `path`; None if it is unknown, unreadable, or a checkpoint directory."""
    try:
        return _kind_of_directory(path) if os.path.isdir(str(path)) else _kind_of_file(path)
    except OSError:
        return None


def is_lfs_pointer(path: Path) -> bool:
    """Return whether a file is a Git LFS pointer."""
    try:
        with open_file(path) as file:  # a pipe is not waited for
            return begins_as_lfs_pointer(file)
    except OSError:
        return False


def begins_as_lfs_pointer(file: BinaryIO) -> bool:
    """Return whether an open file is a Git LFS pointer."""
    file.seek(0)
    return file.read(len(_LFS)) == _LFS


def is_meta_graph(path: Path) -> bool:
    """Return whether a file is a MetaGraphDef with a graph, whatever its name."""
    kind = kind_of(path)
    return kind is not None and kind.what.endswith(_META_GRAPH)


def other_than_meta_graph(path: Path) -> Optional[Kind]:
    """Return the kind of a file that is known to be something else than a MetaGraphDef; None for others."""
    kind = kind_of(path)
    return None if kind is None or kind.what.endswith(_META_GRAPH) else kind


def is_frozen_graph(path: Path) -> bool:
    """Return whether a file is a GraphDef without variables, whatever its name."""
    kind = kind_of(path)
    return kind is not None and kind.what == _FROZEN


def is_keras_file(path: Path) -> bool:
    """Return whether a file is an HDF5 file or a .keras archive, whatever its name."""
    kind = kind_of(path)
    return kind is not None and kind.what in (_HDF5, _KERAS_3)


def _kind_of_file(path: Path) -> Optional[Kind]:
    if not os.path.isfile(str(path)):
        return None
    with open(str(path), "rb") as file:
        start = file.read(_READ)
        size = file.seek(0, os.SEEK_END)
        if not size:
            return Kind(EMPTY, _AGAIN)
        return (
            _by_signature(path, start)
            or _by_text(path, start)
            or _by_message(path, file, start, min(size, _LARGEST_GRAPH))
        )


def _by_signature(path: Path, start: bytes) -> Optional[Kind]:
    """Detect formats with magic bytes."""
    if start.startswith(_LFS):
        return POINTER
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return Kind(_HDF5, _KERAS)
    if start.startswith(b"PK\x03\x04"):
        return _kind_of_zip(path)
    if start[4:8] == b"TFL3":
        text = "its weights may be rounded; pass the checkpoint that it was converted from"
        return Kind("a TensorFlow Lite model", text)
    if start.startswith(b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"):
        return Kind("a PyTorch file", _OTHER_FRAMEWORK)
    if re.match(rb"\x80[\x02-\x05][\x8a\x95}\](c\x8c\x58]", start):
        return Kind("a Python pickle, which is not opened here", _GET_CHECKPOINT)
    if start.startswith(b"\x93NUMPY"):
        return Kind("an array of numpy", _GET_CHECKPOINT)
    if start[8:10] == b'{"' and int.from_bytes(start[:8], "little") < 1 << 40:
        return Kind("a safetensors file", _OTHER_FRAMEWORK)
    packed = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"7z\xbc\xaf": "7-Zip", b"Rar!": "RAR"}
    packed.update({b"\x28\xb5\x2f\xfd": "zstd"})
    for signature, name in packed.items():
        if start.startswith(signature):
            return Kind(f"an archive ({name})", _UNPACK)
    if start[257:262] == b"ustar":
        return _kind_of_tar(path)
    if "tfevents" in path.name:
        return Kind("a TensorBoard event file", _GET_CHECKPOINT)
    return None


def _kind_of_zip(path: Path) -> Kind:
    import zipfile

    try:
        with zipfile.ZipFile(str(path)) as file:
            names = file.namelist()
    except (zipfile.BadZipFile, RuntimeError, ValueError):
        return Kind("a zip archive that is cut short or damaged", _AGAIN)
    if "config.json" in names and any(name.endswith(".h5") for name in names):
        return Kind(_KERAS_3, _KERAS)
    if any(name.endswith("data.pkl") for name in names):
        return Kind("a PyTorch file", _OTHER_FRAMEWORK)
    if names and all(name.endswith(".npy") for name in names):
        return Kind("a .npz of numpy arrays", _GET_CHECKPOINT)
    return Kind(f"a zip archive{_content(names)}", _UNPACK)


def _kind_of_tar(path: Path) -> Kind:
    import tarfile

    try:
        with tarfile.open(str(path)) as file:
            names = [member.name for member, _ in zip(file, range(1000))]
    except (tarfile.TarError, EOFError):
        return Kind("a tar archive that is cut short or damaged", _AGAIN)
    if {"pickle", "tensors"} <= set(names):
        return Kind("a PyTorch file", _OTHER_FRAMEWORK)
    return Kind(f"a tar archive{_content(names)}", _UNPACK)


def _content(names: List[str]) -> str:
    """Describe an archive's content by the names of its members."""
    if any(os.path.basename(name) in ("saved_model.pb", "saved_model.pbtxt") for name in names):
        return " with a SavedModel in it"
    return " with a checkpoint in it" if any(name.endswith(".index") for name in names) else ""


def _by_text(path: Path, start: bytes) -> Optional[Kind]:
    """Detect text formats."""
    words = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    lower = words[:200].lower()
    if lower.startswith((b"<!doctype html", b"<html")):
        text = "the download saved a page about the file, or an error; download the file itself"
        return Kind("a page of HTML", text)
    if lower.startswith(b"<?xml"):
        return Kind("an XML text, as a storage service answers errors", "download the file again")
    if words.startswith(b"{"):
        if b'"modelTopology"' in words or b'"graph-model"' in words or b'"layers-model"' in words:
            return Kind("a model of TensorFlow.js", _OTHER_FRAMEWORK)
        if b'"class_name"' in words:
            return Kind("a Keras model's configuration, without its weights", _KERAS)
        return Kind(JSON, _GET_CHECKPOINT)
    if re.match(rb"(node|library|versions)\s*[{:]", words):
        return Kind("a graph as text (GraphDef), which holds no variables' values", _GRAPH_ALONE)
    if re.match(rb"(saved_model_schema_version\s*:|meta_graphs\s*[{:])", words):
        return Kind(
            "a SavedModel as text",
            f"take it in with ckpt2saved bump-version BASE --from {for_shell(path.parent)}, under the name"
            " saved_model.pbtxt",
        )
    if re.match(rb"(meta_info_def|graph_def|saver_def|collection_def)\s*[{:]", words):
        return Kind("a training's graph as text " + _META_GRAPH, _AS_GRAPH)
    return None


def _by_message(path: Path, file: BinaryIO, start: bytes, size: int) -> Optional[Kind]:
    """Detect protobuf messages, which have no magic bytes, by their first fields."""
    if re.match(rb"\x08[\x01-\x20]\x12.[\x20-\x7e]*", start, re.DOTALL) and (
        path.suffix == ".onnx" or re.match(rb"\x08.\x12.(pytorch|tf2onnx|onnx|keras2onnx|skl2onnx)", start, re.DOTALL)
    ):
        return Kind("an ONNX model", _OTHER_FRAMEWORK)
    if not start or start[0] not in (0x0A, 0x08):
        return None
    ops: Dict[str, int] = {}
    schema = meta_info = False
    try:
        for count, (number, value) in enumerate(fields(of_file(file, size))):
            if count == 0 and start[0] == 0x08:
                schema = number == 1
            elif schema and number == 2:
                return Kind(
                    "a SavedModel's graph",
                    "a SavedModel is a directory: take it in with ckpt2saved bump-version BASE --from"
                    f" {for_shell(path.parent)}",
                )
            elif meta_info and number == 2:
                return Kind("a training's graph " + _META_GRAPH, _AS_GRAPH)
            elif schema or meta_info:
                return None
            elif number == 1:
                op = _op_of(value)
                if op is None:
                    meta_info = count == 0
                else:
                    ops[op] = ops.get(op, 0) + 1
            if count > _MOST_NODES:
                break
    except Malformed:
        if not ops:
            return None
        return Kind("a graph (GraphDef) that is cut short", _AGAIN)
    if not ops:
        return None
    if any(op in ops for op in _VARIABLES):
        return Kind("a graph (GraphDef), which holds no variables' values", _GRAPH_ALONE)
    return Kind(
        _FROZEN,
        f"export takes it as --graph, without --checkpoint; ckpt2saved inspect {for_shell(path)} shows its inputs and"
        " outputs",
    )


def _op_of(node: Part) -> Optional[str]:
    """Return the op of a NodeDef; None if the message is not a NodeDef."""
    found: Dict[int, str] = {}
    try:
        for number, value in itertools.islice(fields(node), _MOST_FIELDS):
            if number in (1, 2) and number not in found:
                found[number] = value.text() if value.size < 1000 else ""
    except Malformed:
        return None
    return found[2] if 1 in found and _OP.match(found.get(2, "")) else None


def _kind_of_directory(path: Path) -> Optional[Kind]:
    names = set(os.listdir(str(path)))
    if "tfhub_module.pb" in names:
        return Kind(
            "a TensorFlow Hub module",
            f"its variables alone are the checkpoint {path / 'variables' / 'variables'}; its SavedModel has no tag"
            " 'serve', which TF Serving asks for, so load it with tensorflow_hub and write a SavedModel of it",
        )
    if "export.meta" in names and "saved_model.pb" not in names:
        return Kind(
            "a SessionBundle, which TF Serving no longer loads",
            "its checkpoint is {0}, its graph {0}.meta: see 'ckpt2saved inspect {0}.meta', then pass export "
            "--checkpoint {0} --graph {0}.meta".format(path / "export"),
        )
    if "model.json" in names and any(name.endswith(".bin") for name in names):
        return Kind("a model of TensorFlow.js", _OTHER_FRAMEWORK)
    if "saved_model.pb" in names or "saved_model.pbtxt" in names:
        return Kind(
            "a SavedModel",
            f"take it in with ckpt2saved bump-version BASE --from {for_shell(path)}; its variables alone are the"
            f" checkpoint {path / 'variables' / 'variables'}",
        )
    return None
