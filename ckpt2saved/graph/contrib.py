"""Registration of the tf.contrib ops of a graph, which TensorFlow 1.x otherwise registers when they are first used."""

from __future__ import annotations

from pathlib import Path
from typing import Iterable

from google.protobuf.message import DecodeError

from ckpt2saved.graph.graph_def import nodes_of
from ckpt2saved.graph.op_table import shipped_table
from ckpt2saved.graph.tf1 import SavedModel, contrib_directory, has_cpu_kernel, load_library, op_def


def register_ops(ops: Iterable[str]) -> None:
    """Load the tf.contrib libraries that have those of `ops` which TensorFlow has not registered.

    Does nothing on a TensorFlow without tf.contrib, and for other ops.
    """
    directory = contrib_directory()
    if directory is None:
        return
    missing = [op for op in set(ops) if op_def(op) is None or not has_cpu_kernel(op)]
    libraries = {shipped_table().library_of(op) for op in missing}
    for library in sorted(libraries - {""}):
        if (directory / library).is_file():
            load_library(directory / library)


def register_ops_of(version_dir: Path) -> None:
    """The same for the ops of a SavedModel; does nothing where it can't be read, which its loader will report."""
    if contrib_directory() is None:
        return
    try:
        saved_model = SavedModel.FromString((version_dir / "saved_model.pb").read_bytes())
    except (OSError, DecodeError):
        return
    register_ops(node.op for meta_graph in saved_model.meta_graphs for node in nodes_of(meta_graph.graph_def))
