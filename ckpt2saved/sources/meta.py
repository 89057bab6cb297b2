"""The .meta file of a training as a graph source."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Mapping, Optional, Tuple

from ckpt2saved.checkpoint.files import CheckpointFiles, checkpoints_at
from ckpt2saved.errors import CheckpointError
from ckpt2saved.files.kinds import TRAINING_GRAPH, is_meta_graph, other_than_meta_graph
from ckpt2saved.signature.model import META, Scalar, ServedModel, Surgery
from ckpt2saved.sources.source import GraphSource

if TYPE_CHECKING:
    from ckpt2saved.checkpoint.contents import Checkpoint
    from ckpt2saved.sources.loaded import LoadedGraph


@dataclass(frozen=True)
class MetaSource(GraphSource):
    """A meta graph: the training's own graph, converted to inference and cut to the signatures."""

    path: Optional[Path]  # None: the .meta file beside the checkpoint

    has_nodes = True
    name = META

    @classmethod
    def of(cls, text: str, options: Mapping[str, Scalar], python_path: Tuple[Path, ...]) -> Optional[GraphSource]:
        if text == META:
            return cls(None)
        path = Path(text)
        other = other_than_meta_graph(path)
        if other:
            raise CheckpointError(f"--graph {text}: {other.instead_of(TRAINING_GRAPH)}")
        if is_meta_graph(path) or path.suffix == ".meta":
            return cls(path)
        for prefix in checkpoints_at(path):
            meta = Path(str(prefix) + ".meta")
            way = f"pass {meta}" if meta.is_file() else "pass its .meta file, or a function (MODULE:FUNCTION)"
            raise CheckpointError(f"--graph {text}: this is a checkpoint, not a training's graph: {way}")
        return cls(path) if os.path.isfile(text) else None

    def check_changes(self, changes: Surgery) -> None:
        pass  # all changes are possible

    def beside(self, files: CheckpointFiles) -> GraphSource:
        if self.path is not None:
            return self
        if files.meta is None:
            raise CheckpointError(
                f"{files.prefix}: there is no {files.name}.meta, the training's graph, beside this checkpoint: pass its"
                " path (--graph FILE.meta), or a signature file whose graph has a builder (--model)"
            )
        return replace(self, path=files.meta)

    def load(self, checkpoint: Checkpoint, model: ServedModel) -> LoadedGraph:
        from ckpt2saved.graph.meta_graph import read_meta_graph
        from ckpt2saved.sources.training_graph import load_training_graph

        if self.path is None:
            raise ValueError("call `beside` first, which finds the .meta file")
        return load_training_graph(read_meta_graph(self.path), checkpoint, model)
