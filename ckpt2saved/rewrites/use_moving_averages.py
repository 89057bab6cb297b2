"""Batch norm uses the moving averages that the checkpoint holds in place of batch statistics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Mapping, Optional, Sequence, Set, Tuple

import numpy as np

from ckpt2saved.errors.problem import Problem
from ckpt2saved.graph.graph import Graph, conditional
from ckpt2saved.graph.names import Ref
from ckpt2saved.graph.ops import SWITCHES
from ckpt2saved.graph.probe import MOVING
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.rewrites.analyses.averages import Averages, kept_by_fused
from ckpt2saved.rewrites.analyses.statistics import MEAN, VARIANCE, BatchStatistics
from ckpt2saved.rewrites.context import Context
from ckpt2saved.rewrites.found import Edit, Found
from ckpt2saved.rewrites.rewrite import Rewrite

_PAIRS = (
    ("moving_mean", "moving_variance"),
    ("moving_mean", "moving_var"),
    ("moving_avg", "moving_var"),
    ("running_mean", "running_var"),
    ("running_mean", "running_variance"),
    ("pop_mean", "pop_var"),
    ("pop_mean", "pop_variance"),
    ("mean", "variance"),
    ("mean", "var"),
)
# A training that does not run tf.GraphKeys.UPDATE_OPS never updates its averages; the graph alone can't tell for sure.
_IDLE = "nothing in the graph runs their updates: check that the training did"
_AVERAGE = "/ExponentialMovingAverage"


@dataclass(frozen=True)
class Replacement:
    """The variables that replace a mean and a variance, and how they were found."""

    mean: str
    variance: str
    found_by: str  # "" where the updates in the training graph show it


@dataclass(frozen=True)
class AveragesUsed(Edit):
    """The moving averages that a batch norm uses now."""

    mean: str = ""  # the variable's node
    variance: str = ""
    idle: Tuple[str, ...] = ()  # the two in the checkpoint, where nothing in the graph updates them


class UseMovingAverages(Rewrite):
    """Replaces the batch statistics of each batch norm by the variables that hold their moving averages."""

    name = "use moving averages"

    def __call__(self, graph: Graph, context: Context) -> Found:
        within = graph.between(context.outputs, context.inputs)
        batch_norms = _BatchNorms(graph, context.variables, context.averages, set(context.outputs))
        for number, statistics in enumerate(context.statistics):
            if any(ref[0] in within for ref in statistics.tensors):
                batch_norms.replace(number, statistics)
        batch_norms.done()
        return Found(tuple(batch_norms.edits), tuple(batch_norms.problems))


class _BatchNorms:
    """Finds the variables that replace batch statistics, edits the graph, and collects problems."""

    def __init__(
        self, graph: Graph, variables: Mapping[str, Sequence[int]], averages: Averages, outputs: Set[Ref]
    ) -> None:
        self.graph = graph
        self.variables = variables
        self.averages = averages
        self.outputs = outputs
        self.frames = graph.control.in_loops
        self.conditional = conditional(graph)
        self.problems: List[Problem] = []
        self.redirected: Dict[Ref, Ref] = {}
        self.edits: List[Edit] = []

    def replace(self, number: int, statistics: BatchStatistics) -> None:
        """Replace batch statistics, number `number` of `averages`, by moving averages."""
        found = self.replacement(number, statistics)
        if found is None or not self.is_in_checkpoint(statistics, found):
            return
        if len(self.frames.get(statistics.name, ())) > 1:
            self.refuse(statistics, "it is inside a nested loop")
            return
        if statistics.fused:
            self.replace_fused(statistics, found)
        elif statistics.name in self.conditional:
            # An average has a value whichever branch runs, the statistic only on its branch.
            self.refuse(statistics, "it is inside an undecided condition; decide it with --set NAME=VALUE")
            return
        else:
            self.replace_unfused(statistics, found)
        text = (
            f"{_scope_of(statistics.name)}: batch statistics replaced by {found.mean},"
            f" {found.variance}{found.found_by and f' ({found.found_by})'}"
        )
        is_idle = found.found_by == _IDLE
        idle = (self.checkpoint_name(found.mean), self.checkpoint_name(found.variance)) if is_idle else ()
        edit = AveragesUsed(statistics.name, "batch norm", text, mean=found.mean, variance=found.variance, idle=idle)
        self.edits.append(edit)

    def done(self) -> None:
        """Redirect the consumers of all replaced statistics."""
        self.graph.redirect(self.redirected)

    def refuse(self, statistics: BatchStatistics, reason: str) -> None:
        self.problems.append(
            Problem(
                "batch-statistics",
                statistics.name,
                "batch norm uses batch statistics, so that an answer depends on the rest of the batch",
                op=self.graph[statistics.name].op,
                reason=reason,
                nodes=tuple(statistics.nodes),
            )
        )

    def replacement(self, number: int, statistics: BatchStatistics) -> Optional[Replacement]:
        by_itself = kept_by_fused(self.graph, statistics)
        if by_itself is not None:
            return Replacement(by_itself[MEAN], by_itself[VARIANCE], "")
        updated = [self.averages.variables.get((number, kind), []) for kind in (MEAN, VARIANCE)]
        if all(len(names) == 1 for names in updated):
            idle = not any(self.averages.runs(names[0]) for names in updated)
            return Replacement(updated[0][0], updated[1][0], _IDLE if idle else "")
        unclear = [name for kind in (MEAN, VARIANCE) for name in self.averages.unclear.get((number, kind), [])]
        if any(updated) or unclear:
            self.refuse(statistics, self.why_not_updated(updated, unclear))
            return None
        siblings = self.siblings(statistics)
        if len(siblings) == 1:
            return siblings[0]
        if siblings:
            names = " and ".join(f"{found.mean}, {found.variance}" for found in siblings)
            self.refuse(
                statistics,
                f"no update shows which variables hold its moving averages, and several are possible: {names}",
            )
        else:
            self.refuse(
                statistics,
                "the graph does not update any moving average of it, and has no moving_mean and moving_variance in the "
                "scope of its other variables; build the graph for inference, or use a checkpoint that has them",
            )
        return None

    def why_not_updated(self, updated: Sequence[Sequence[str]], unclear: Sequence[str]) -> str:
        if unclear:
            return (
                f"{', '.join(sorted(unclear))} assigns a value computed from it that is not proven to be a moving"
                " average; build the graph for inference"
            )
        return "the moving averages of its mean are {}, of its variance {}; expected one of each".format(
            *[", ".join(names) or "none" for names in updated]
        )

    def is_in_checkpoint(self, statistics: BatchStatistics, found: Replacement) -> bool:
        names = [self.checkpoint_name(name) for name in (found.mean, found.variance)]
        missing = [name for name in names if name not in self.variables]
        if missing:
            self.refuse(
                statistics,
                f"its moving averages are {', '.join(names)}, and the checkpoint has no {' and no '.join(missing)}:"
                " save all variables (tf.train.Saver(tf.global_variables())), or use another checkpoint",
            )
        elif tuple(self.variables[names[0]]) != tuple(self.variables[names[1]]):
            self.refuse(
                statistics,
                f"its moving averages {names[0]} and {names[1]} differ in shape: {list(self.variables[names[0]])} and"
                f" {list(self.variables[names[1]])}",
            )
        else:
            return True
        return False

    def checkpoint_name(self, variable: str) -> str:
        """The name in the checkpoint of a node's variable."""
        shared = tf.compat.as_text(self.graph[variable].attr["shared_name"].s)
        return shared if variable not in self.variables and shared in self.variables else variable

    # The fallback: names.

    def siblings(self, statistics: BatchStatistics) -> List[Replacement]:
        found = []
        scopes, why = self.scopes(statistics)
        for scope in scopes:
            for mean, variance in _PAIRS:
                names = [scope + mean, scope + variance]
                if all(self.fits(name, statistics) for name in names):
                    found.append(
                        Replacement(names[0], names[1], f"found by name, as the graph has no update of them; {why}")
                    )
        if not found and not statistics.fused:
            kinds = [[ref[0] + _AVERAGE for ref in statistics.of(kind)] for kind in (MEAN, VARIANCE)]
            means, variances = [[name for name in kind if self.fits(name, statistics)] for kind in kinds]
            if len(means) == len(variances) == 1:
                why = "found by name, as the graph has no update of them; they are named after the statistics"
                found.append(Replacement(means[0], variances[0], why))
        return found

    def scopes(self, statistics: BatchStatistics) -> Tuple[List[str], str]:
        """The scopes in which moving averages would be, those of gamma and beta, and why."""
        beside = [name for name in self.scaled_by(statistics) if name]
        if beside:
            scopes = sorted({name.rpartition("/")[0] for name in beside})
            return [scope + "/" if scope else "" for scope in scopes], f"they are beside {' and '.join(beside)}"
        scope = _scope_of(statistics.name)
        return [scope + "/"], "they are in the scope of the batch norm"

    def scaled_by(self, statistics: BatchStatistics) -> List[str]:
        """The variables gamma and beta of a batch norm, as far as it has them."""
        graph = self.graph
        if statistics.fused:
            node = graph[statistics.name]
            return sorted({name for name in map(graph.variable, node.inputs[1:3]) if name})
        found: Set[str] = set()
        ahead = [ref[0] for ref in statistics.of(VARIANCE)]
        for _ in range(8):
            users = [user for name in ahead for user in graph.consumers(name)]
            for user in users:
                if user.op == "Mul":
                    found.update(name for name in map(graph.variable, user.inputs) if name)
            chain = ("Add", "AddV2", "Rsqrt", "Sqrt", "Reciprocal", "Pow", "Identity")
            ahead = [user.name for user in users if user.op in chain]
        return sorted(found)

    def fits(self, name: str, statistics: BatchStatistics) -> bool:
        """Whether there is such a variable, of the size of gamma and beta."""
        if name not in self.graph or self.graph.variable((name, 0)) != name:
            return False
        shape = self.variables.get(self.checkpoint_name(name))
        beside = [self.variables.get(self.checkpoint_name(other)) for other in self.scaled_by(statistics)]
        return shape is not None and all(_size(shape) == _size(other) for other in beside if other is not None)

    # The edit itself.

    def replace_fused(self, statistics: BatchStatistics, found: Replacement) -> None:
        node = self.graph[statistics.name]
        key = "U" if "U" in node.attr else "T"
        reads = [
            self.read(name, statistics.name, node.attr[key].type, [_size(self.stored_shape(name))])
            for name in (found.mean, found.variance)
        ]
        node.inputs = node.inputs[:3] + reads
        node.attr["is_training"].b = False
        node.attr.pop("exponential_avg_factor", None)
        self.graph.changed()

    def replace_unfused(self, statistics: BatchStatistics, found: Replacement) -> None:
        for kind, name in ((MEAN, found.mean), (VARIANCE, found.variance)):
            for ref in statistics.of(kind):
                node = self.graph[ref[0]]
                if node.op in SWITCHES:
                    continue  # what it selects is replaced before it
                if node.op == "Reshape":  # whatever its shape: its input becomes the average
                    node.inputs[0] = self.read(name, ref[0], node.dtype(), self.stored_shape(name))
                elif node.op not in MOVING or node.op == "Squeeze":  # the others follow a statistic that is replaced
                    shape = _with_axes(self.stored_shape(name), statistics.axes, self.keeps_axes(ref, statistics))
                    self.redirected[ref] = self.read(name, ref[0], node.dtype(), shape)
                    if ref in self.outputs:
                        node.become("Identity", [self.redirected[ref]], T=node.dtype())

    def keeps_axes(self, ref: Ref, statistics: BatchStatistics) -> bool:
        """Whether a statistic has an axis of size 1 for each that was reduced."""
        for _ in range(20):
            node = self.graph[ref[0]]
            if node.op in ("Mean", "Sum"):
                return bool(node.attr["keep_dims"].b)
            if node.op == "Squeeze":
                return False
            # Computed from several reductions: all keep their axes, or none does.
            sources = [source for source in node.inputs if source in statistics.tensors]
            sources += [source for source in node.inputs if self.graph.constant(source) is None]
            if not sources:
                return False
            ref = sources[0]
        return False

    def stored_shape(self, variable: str) -> List[int]:
        return list(self.variables[self.checkpoint_name(variable)])

    def read(self, variable: str, reader: str, dtype: int, shape: Sequence[int]) -> Ref:
        """A tensor with the value of a variable for the node `reader`, in the shape and type that the node needs."""
        graph = self.graph
        has = graph[variable].attr["dtype"].type
        name = f"{reader}/{variable.rpartition('/')[2]}"
        ref = graph.add_read(name, variable)
        if list(shape) != self.stored_shape(variable):
            sizes = graph.add(name + "/shape", "Const", ())
            sizes.become_constant(list(shape), tf.int32.as_datatype_enum, [len(shape)])
            shaped = graph.add(name + "/shaped", "Reshape", [ref, (sizes.name, 0)], T=has)
            shaped.attr["Tshape"].type = tf.int32.as_datatype_enum
            ref = (shaped.name, 0)
        if dtype and dtype != has:
            ref = (graph.add(name + "/cast", "Cast", [ref], SrcT=has, DstT=dtype).name, 0)
        if reader in self.frames:
            ref = self.enter(ref, name, self.frames[reader], dtype or has)
        return ref

    def enter(self, ref: Ref, name: str, frame: Tuple[str, ...], dtype: int) -> Ref:
        entering = self.graph.add(name + "/enter", "Enter", [ref], T=dtype)
        entering.attr["frame_name"].s = tf.compat.as_bytes(frame[0])
        entering.attr["is_constant"].b = True
        entering.attr["parallel_iterations"].i = next(
            node.attr["parallel_iterations"].i
            for node in self.graph.nodes.values()
            if node.op == "Enter" and tf.compat.as_text(node.attr["frame_name"].s) == frame[0]
        )
        return entering.name, 0


def _scope_of(name: str) -> str:
    """The scope of a batch norm, from the name of its fused op or of its mean."""
    parts = name.split("/")[:-1]
    while len(parts) > 1 and parts[-1].split("_")[0] in ("moments", "cond", "sufficient", "normalize"):
        parts.pop()
    return "/".join(parts) or name


def _size(shape: Sequence[int]) -> int:
    return int(np.prod(shape, dtype=np.int64))


def _with_axes(stored: Sequence[int], axes: Sequence[int], keeps: bool) -> List[int]:
    """The shape of a statistic over `axes`, from that of its average, which may or may not have these axes."""
    positions = _from_the_front(axes, len(stored))
    kept = all(position < len(stored) and stored[position] == 1 for position in positions)
    kept = kept and len(stored) > len(positions)
    if not kept:
        positions = _from_the_front(axes, len(stored) + len(axes))
    shape = [size for position, size in enumerate(stored) if not kept or position not in positions]
    for position in positions if keeps else ():
        shape.insert(position, 1)
    return shape


def _from_the_front(axes: Sequence[int], rank: int) -> List[int]:
    return sorted(axis + rank if axis < 0 else axis for axis in axes)
