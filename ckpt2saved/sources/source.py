"""The form of a graph source: the checkpoint that goes with it, and the graph that it makes for one."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Iterator, Mapping, Optional, Tuple

from ckpt2saved.checkpoint.files import CheckpointFiles, find_checkpoint
from ckpt2saved.errors import UsageError
from ckpt2saved.signature.model import META, Scalar, ServedModel, Surgery

if TYPE_CHECKING:
    from ckpt2saved.checkpoint.contents import Checkpoint
    from ckpt2saved.sources.loaded import LoadedGraph


class GraphSource(ABC):
    """Where a graph comes from.

    A source is found, and refused, without TensorFlow; `open` and `load` import TensorFlow when they are called.
    """

    options: Mapping[str, Scalar] = {}  # what --option and the signature file say to the builder
    holds_weights: bool = False  # whether the file of the graph has the weights too, so that there is no checkpoint
    has_nodes: bool = False  # whether signatures call tensors by their nodes, as in logits:0, and not by keys

    @classmethod
    @abstractmethod
    def of(cls, text: str, options: Mapping[str, Scalar], python_path: Tuple[Path, ...]) -> Optional[GraphSource]:
        """The source that --graph, or a signature file, names as `text`; None where `text` names another kind."""

    @property
    @abstractmethod
    def name(self) -> str:
        """How signature files and a version's provenance name it."""

    def check_changes(self, changes: Surgery) -> None:
        """Raise UsageError for a change on the command line that a graph of this kind does not take."""
        if changes.pinned:
            raise UsageError(f"--set: only for a training's graph (--graph {META})")
        if changes.allow_labels:
            raise UsageError(f"--allow-labels: only for a training's graph (--graph {META})")

    def find_checkpoint(self, path: Optional[Path]) -> CheckpointFiles:
        """The files that hold the values of the graph's variables; raises CheckpointError."""
        if path is None:
            raise UsageError("Missing option '--checkpoint': the checkpoint that the training wrote")
        return find_checkpoint(path)

    def format_of(self, files: CheckpointFiles) -> str:
        """How a version's provenance calls the format of these files."""
        return "V1" if files.is_v1 else "V2"

    def beside(self, files: CheckpointFiles) -> GraphSource:
        """This source, where a part of it lies beside the checkpoint."""
        return self

    @contextlib.contextmanager
    def open(self, files: CheckpointFiles, model: ServedModel) -> Iterator[Checkpoint]:
        """The checkpoint in the files that `find_checkpoint` found, for as long as the context lasts."""
        from ckpt2saved.checkpoint.contents import open_checkpoint

        yield open_checkpoint(files)

    @abstractmethod
    def load(self, checkpoint: Checkpoint, model: ServedModel) -> LoadedGraph:
        """The graph for a checkpoint, as far as the signatures of `model` need it."""
