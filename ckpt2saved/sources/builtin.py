"""A built-in network as a graph source."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Mapping, Optional, Tuple

from ckpt2saved.errors import UsageError
from ckpt2saved.signature.file import builtin_models
from ckpt2saved.signature.model import Scalar, ServedModel, Surgery
from ckpt2saved.sources.source import GraphSource

if TYPE_CHECKING:
    from ckpt2saved.checkpoint.contents import Checkpoint
    from ckpt2saved.sources.loaded import LoadedGraph


@dataclass(frozen=True)
class BuiltinSource(GraphSource):
    """A network of this package, built from the names and shapes in the checkpoint."""

    network: str
    options: Mapping[str, Scalar] = field(default_factory=dict)

    @classmethod
    def of(cls, text: str, options: Mapping[str, Scalar], python_path: Tuple[Path, ...]) -> Optional[GraphSource]:
        return cls(text, options) if text in builtin_models() else None

    @property
    def name(self) -> str:
        return self.network

    def check_changes(self, changes: Surgery) -> None:
        super().check_changes(changes)
        if changes.keep_training_ops:
            raise UsageError(f"--keep-training-ops: {self.network} is built for inference, and has none")
        if changes.renames:
            raise UsageError(
                f"--map: {self.network} is built from the names in its checkpoint; --option scope=… sets their prefix"
            )

    def load(self, checkpoint: Checkpoint, model: ServedModel) -> LoadedGraph:
        from ckpt2saved.graph.tf1 import tf
        from ckpt2saved.sources.loaded import loaded_from_builder, refuse_objects
        from ckpt2saved.sources.networks import build_network

        refuse_objects(checkpoint)
        graph = tf.Graph()
        with graph.as_default():
            tensors = build_network(self.network, checkpoint.variables(), self.options)
        return loaded_from_builder(model, graph, tensors)
