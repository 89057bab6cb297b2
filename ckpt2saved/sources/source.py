"""The base class of graph sources: they find and open a checkpoint, and load the graph for it."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Iterator, Mapping, Optional, Sequence, Tuple, Union

from ckpt2saved.checkpoint.files import CheckpointFiles, find_checkpoint
from ckpt2saved.errors import UsageError
from ckpt2saved.signature.model import META, Scalar, ServedModel, Surgery

if TYPE_CHECKING:
    from ckpt2saved.checkpoint.contents import Checkpoint
    from ckpt2saved.sources.loaded import LoadedGraph


class GraphSource(ABC):
    """Where a graph comes from.

    Only `open` and `load` import TensorFlow.
    """

    noun: str = "checkpoint"  # for the file with the values of the variables, in messages
    options: Mapping[str, Scalar] = {}  # the options of the builder, from --option and the signature file
    holds_weights: bool = False  # whether the graph file contains the weights, so that there is no checkpoint
    has_nodes: bool = False  # whether signatures name tensors by node, as in logits:0, and not by key

    @classmethod
    @abstractmethod
    def of(cls, text: str, options: Mapping[str, Scalar], python_path: Tuple[Path, ...]) -> Optional[GraphSource]:
        """The source for `text`, the value of --graph or graph.builder; None if `text` is of another kind."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Its name in signature files and in the provenance of a version."""

    def check_changes(self, changes: Surgery) -> None:
        """Raise UsageError for a change that is impossible for this kind of graph."""
        if changes.pinned:
            raise UsageError(f"--set: only for a training's graph (--graph {META})")
        if changes.allow_labels:
            raise UsageError(f"--allow-labels: only for a training's graph (--graph {META})")

    def find_checkpoint(self, path: Optional[Path]) -> CheckpointFiles:
        """The files that hold the values of the graph's variables; raises CheckpointError."""
        if path is None:
            raise UsageError("Missing option '--checkpoint': the checkpoint that the training wrote")
        return find_checkpoint(path)

    def find_checkpoints(self, paths: Union[Sequence[Path], Mapping[str, Path]]) -> CheckpointFiles:
        """The files for the values of --checkpoint; raises CheckpointError or UsageError."""
        if isinstance(paths, Mapping):
            raise UsageError(f"--checkpoint: {self.name} takes one; found one for each of {', '.join(paths)}")
        if len(paths) > 1:
            raise UsageError(f"--checkpoint: {self.name} takes one; found {len(paths)}: {', '.join(map(str, paths))}")
        return self.find_checkpoint(paths[0] if paths else None)

    def format_of(self, files: CheckpointFiles) -> str:
        """The name of the file format in the provenance of a version."""
        return "V1" if files.is_v1 else "V2"

    def beside(self, files: CheckpointFiles) -> GraphSource:
        """The source, with the path of a part that is beside the checkpoint."""
        return self

    @contextlib.contextmanager
    def open(self, files: CheckpointFiles, model: ServedModel) -> Iterator[Checkpoint]:
        """Open the files that `find_checkpoint` found; yields the checkpoint."""
        from ckpt2saved.checkpoint.contents import open_checkpoint

        yield open_checkpoint(files)

    @abstractmethod
    def load(self, checkpoint: Checkpoint, model: ServedModel) -> LoadedGraph:
        """Load the graph for a checkpoint, with the signatures of `model`."""
