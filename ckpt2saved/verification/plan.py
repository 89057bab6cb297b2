"""The plan of a comparison with a checkpoint, checked without TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Optional

from ckpt2saved.answers.search_limits import DEFAULT_LIMITS, SearchLimits
from ckpt2saved.errors import StrayOptions
from ckpt2saved.sources.graph_plan import GraphOptions, GraphPlan, plan_graph
from ckpt2saved.sources.registry import holds_weights
from ckpt2saved.verification.recorded import with_recorded


@dataclass(frozen=True)
class ComparisonPlan:
    """The graph and checkpoint to compare with, and the limits of the comparison."""

    graph: GraphPlan
    search_limits: SearchLimits = DEFAULT_LIMITS


def comparison_plan(graph: GraphOptions, search_limits: SearchLimits, directory: Path) -> Optional[ComparisonPlan]:
    """The plan for these options, completed with what the version in `directory` records.

    None without a checkpoint or a graph that holds the weights; then StrayOptions is raised for other options. Raises
    the errors of plan_graph.
    """
    if not graph.checkpoints and not holds_weights(graph.graph):
        defaults = GraphOptions()
        stray = [one.name for one in fields(graph) if getattr(graph, one.name) != getattr(defaults, one.name)]
        stray += ["parity_seconds"] if search_limits.seconds != DEFAULT_LIMITS.seconds else []
        stray += ["parity_lines"] if search_limits.lines is not None else []
        if stray:
            raise StrayOptions(stray, "--checkpoint")
        return None
    return ComparisonPlan(plan_graph(with_recorded(graph, directory)), search_limits)
