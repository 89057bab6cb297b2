"""Where the time of runs goes by groups of nodes, from TensorFlow's step statistics."""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Dict, Iterable, Iterator, List, Sequence, Set, Tuple

from ckpt2saved.graph.groups import GROUPS

if TYPE_CHECKING:  # slow to import
    from ckpt2saved.graph.graph import Graph

IDLE = "no op runs"  # TensorFlow passes tensors from op to op, and waits
_MOST_OPS = 10  # of a profile


@dataclass(frozen=True)
class GroupTime:
    """The time of one group of nodes in one run: the sum over its ops, of which some run at the same time."""

    group: str
    seconds: float
    share: float  # of the time of all ops
    nodes: int
    runs: float  # of its nodes: those of a loop run at each step


@dataclass(frozen=True)
class OpTime:
    """The time of all nodes of one op in one group."""

    op: str
    group: str
    seconds: float
    runs: float


@dataclass(frozen=True)
class Profile:
    """The mean run of several; seconds are those of one run."""

    runs: int
    seconds: float  # median of as many runs without statistics
    traced_seconds: float  # median with them, which take time
    idle_seconds: float  # of a run without them, in which no op runs, if ops take as long as with them
    groups: Tuple[GroupTime, ...]
    ops: Tuple[OpTime, ...]  # those that take the most time

    def seconds_of(self, group: str) -> float:
        """The time of a group; 0 where it has no nodes."""
        return sum(time.seconds for time in self.groups if time.group == group)

    def share_of(self, group: str) -> float:
        """The share of a group in the time of all ops."""
        return sum(time.share for time in self.groups if time.group == group)


@dataclass(frozen=True)
class _Interval:
    """When one node ran once, in nanoseconds."""

    node: str
    start: int
    end: int


def profiled(graph: Graph, step_stats: Sequence[Any], seconds: Sequence[float], traced: Sequence[float]) -> Profile:
    """The profile of runs with their StepStats, of the graph that the session runs.

    `traced` are the seconds of these runs, and `seconds` those of runs without statistics.
    """
    from ckpt2saved.graph.node_groups import node_groups  # TensorFlow

    groups = node_groups(graph)
    of_group: Dict[str, int] = Counter()
    of_op: Dict[Tuple[str, str], int] = Counter()
    runs_of_group: Dict[str, int] = Counter()
    runs_of_op: Dict[Tuple[str, str], int] = Counter()
    nodes: Dict[str, Set[str]] = {group: set() for group in GROUPS}
    covered = 0
    for stats in step_stats:
        # Nodes of functions are not in the graph; their time is that of the node that calls the function.
        intervals = [one for one in _intervals(stats) if one.node in groups]
        covered += _covered(intervals)
        for one in intervals:
            group, nanoseconds = groups[one.node], one.end - one.start
            key = graph[one.node].op, group
            of_group[group] += nanoseconds
            of_op[key] += nanoseconds
            runs_of_group[group] += 1
            runs_of_op[key] += 1
            nodes[group].add(one.node)
    count = len(step_stats)
    plain = statistics.median(seconds)
    total = sum(of_group.values()) or 1
    most = sorted(of_op, key=lambda key: -of_op[key])[:_MOST_OPS]
    return Profile(
        runs=count,
        seconds=plain,
        traced_seconds=statistics.median(traced),
        idle_seconds=max(0.0, plain - covered / count / 1e9),
        groups=tuple(
            GroupTime(
                group=group,
                seconds=of_group[group] / count / 1e9,
                share=of_group[group] / total,
                nodes=len(nodes[group]),
                runs=runs_of_group[group] / count,
            )
            for group in GROUPS
            if nodes[group]
        ),
        ops=tuple(
            OpTime(op=key[0], group=key[1], seconds=of_op[key] / count / 1e9, runs=runs_of_op[key] / count)
            for key in most
        ),
    )


def _intervals(step_stats: Any) -> Iterator[_Interval]:
    """When each node ran; on a GPU when its kernels did, and not when they were launched."""
    devices = {device.device: device.node_stats for device in step_stats.dev_stats}
    kernels = {name: stats for name, stats in devices.items() if name.endswith("/stream:all")}
    launching = {name[: -len("/stream:all")] for name in kernels}
    for name, node_stats in devices.items():
        if name in launching or (kernels and "/stream:" in name and name not in kernels):
            continue
        for stats in node_stats:
            start = stats.all_start_nanos + stats.op_start_rel_nanos
            yield _Interval(
                stats.node_name.split(":")[0], start, stats.all_start_nanos + max(stats.op_end_rel_nanos, 0)
            )


def _covered(intervals: Iterable[_Interval]) -> int:
    """The nanoseconds in which at least one node ran."""
    covered, until = 0, 0
    ordered: List[_Interval] = sorted(intervals, key=lambda one: one.start)
    for one in ordered:
        covered += max(0, one.end - max(one.start, until))
        until = max(until, one.end)
    return covered
