"""A training's whole graph, with the towers and losses that the served part lacks."""

from __future__ import annotations

from typing import Any, Mapping, Optional

from ckpt2saved.graph.graph import Graph
from ckpt2saved.rewrites.analyses.labels import Labels, find_labels


class WholeTraining:
    """A training's graph as it was written, which is never edited, and what its losses show."""

    def __init__(self, graph_def: Any, shapes: Mapping[str, Any] = {}) -> None:
        """`shapes` are the TensorShapeProtos of nodes' outputs, as far as they are known."""
        self.graph_def = graph_def
        self._shapes = shapes
        self._graph: Optional[Graph] = None
        self._labels: Optional[Labels] = None

    @property
    def graph(self) -> Graph:
        """The graph with its searches."""
        if self._graph is None:
            self._graph = Graph(self.graph_def, is_copied=False)
        return self._graph

    @property
    def labels(self) -> Labels:
        """The labels that losses compare answers with; the analysis of a large graph takes a second."""
        if self._labels is None:
            self._labels = find_labels(self.graph, self._shapes)
        return self._labels
