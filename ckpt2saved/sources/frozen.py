"""A frozen GraphDef as a graph source: its weights are constants, so there is no checkpoint."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Iterator, Mapping, Optional, Tuple

from ckpt2saved.checkpoint.files import CheckpointFiles
from ckpt2saved.errors import UsageError
from ckpt2saved.files.kinds import is_frozen_graph
from ckpt2saved.signature.model import Scalar, ServedModel, Surgery
from ckpt2saved.sources.source import GraphSource

if TYPE_CHECKING:
    from ckpt2saved.checkpoint.contents import Checkpoint
    from ckpt2saved.sources.loaded import LoadedGraph


@dataclass(frozen=True)
class FrozenSource(GraphSource):
    """A graph written by freeze_graph.py or convert_variables_to_constants; rewritten like a training's graph."""

    path: Path

    has_nodes = True
    holds_weights = True
    noun = "graph file"
    name = "frozen"

    @classmethod
    def of(cls, text: str, options: Mapping[str, Scalar], python_path: Tuple[Path, ...]) -> Optional[GraphSource]:
        return cls(Path(text)) if is_frozen_graph(Path(text)) else None

    def check_changes(self, changes: Surgery) -> None:
        if changes.renames:
            raise UsageError("--map: a frozen graph has no variables")

    def find_checkpoint(self, path: Optional[Path]) -> CheckpointFiles:
        if path is not None:
            raise UsageError(f"--checkpoint: {self.path} is a frozen graph, which contains its weights; omit it")
        return CheckpointFiles(self.path, (self.path,), None)

    def format_of(self, files: CheckpointFiles) -> str:
        return "GraphDef"

    @contextlib.contextmanager
    def open(self, files: CheckpointFiles, model: ServedModel) -> Iterator[Checkpoint]:
        from ckpt2saved.checkpoint.contents import Checkpoint

        yield Checkpoint(files, {}, {}, step=None)

    def load(self, checkpoint: Checkpoint, model: ServedModel) -> LoadedGraph:
        from ckpt2saved.graph.meta_graph import read_meta_graph
        from ckpt2saved.sources.training_graph import load_training_graph

        return load_training_graph(read_meta_graph(self.path), checkpoint, model)
