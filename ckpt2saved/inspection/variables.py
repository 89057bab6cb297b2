"""The tensors of a checkpoint, and how they match the variables of a graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, List, Mapping, Optional, Sequence, Set, Tuple

from ckpt2saved.checkpoint import roles
from ckpt2saved.checkpoint.contents import AVERAGE, Checkpoint, source_of
from ckpt2saved.checkpoint.objects import read_objects
from ckpt2saved.checkpoint.reading import values
from ckpt2saved.checkpoint.savers import Saved
from ckpt2saved.errors import CheckpointError
from ckpt2saved.errors.problem import Problem
from ckpt2saved.graph.names import parsed
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.inspection.training_graph import TrainingGraph
from ckpt2saved.rewrites.convert_cudnn_rnn import parts_in


@dataclass(frozen=True)
class VariableReport:
    """The tensors of a checkpoint, and how they match the variables of the graph beside it."""

    variables: Tuple[roles.Variable, ...]
    step: Optional[int]
    is_object_based: bool
    averaged: int  # how many trained variables have a moving average
    averageable: int
    missing: Tuple[str, ...]  # variables of the graph that the checkpoint lacks
    missing_needed: Tuple[str, ...]  # those of them that the proposed outputs need
    misshapen: Tuple[Problem, ...]
    unused: Tuple[str, ...]  # tensors of the checkpoint that match no variable of the graph


class Fit:
    """The match between the variables of a graph and the tensors of a checkpoint."""

    def __init__(
        self,
        checkpoint: Optional[Checkpoint],
        training: Optional[TrainingGraph],
        saved: Mapping[str, Sequence[Saved]],
        in_tables: Set[str],
    ) -> None:
        self.missing: List[str] = []
        self.misshapen: List[Problem] = []
        self.unused: List[str] = []
        self.foreign: List[str] = []
        self.weights: List[str] = []
        self.averaged: List[str] = []
        self.shapes: Mapping[str, Any] = {}  # of the variables, in the checkpoint or else in the graph
        if training is not None:
            self.shapes = {name: _declared(node) for name, node in training.variables.items()}
        if checkpoint is not None:
            self.shapes = checkpoint.variables()
        if checkpoint is None or training is None:
            return
        keys = {name: _key(name, checkpoint.shapes, saved) for name in training.variables}
        parts = parts_in(training.graph, checkpoint.shapes)
        for name, key in keys.items():
            node = training.variables[name]
            if name in parts and key not in checkpoint.shapes:
                continue
            declared = tf.TensorShape(node.attr["shape"].shape)
            if key not in checkpoint.shapes:
                self.missing.append(name)
            elif key == name and not declared.is_compatible_with(checkpoint.shapes[key]):
                found = f"{declared} in the graph, {list(checkpoint.shapes[key])} in the checkpoint"
                self.misshapen.append(Problem("misshapen-variable", name, found))
                self.foreign.append(name)
        used = set(keys.values()).union(in_tables, *parts.values())
        self.unused = [
            name
            for name in sorted(checkpoint.shapes)
            if name not in used and not (name.endswith(AVERAGE) and name[: -len(AVERAGE)] in used)
        ]
        self.weights = sorted(training.trained or [n for n in training.variables if keys[n] in checkpoint.shapes])
        self.averaged = [name for name in self.weights if name + AVERAGE in checkpoint.shapes]
        self.foreign += [name for name in self.missing if name in self.weights]

    @property
    def is_of_another_run(self) -> bool:
        return len(self.foreign) * 2 > len(self.weights) > 0


def _declared(node: Any) -> List[Any]:
    shape = tf.TensorShape(node.attr["value"].tensor.tensor_shape if node.op == "Const" else node.attr["shape"].shape)
    return [] if shape.ndims is None else shape.as_list()


def _key(name: str, shapes: Mapping[str, Any], saved: Mapping[str, Sequence[Saved]]) -> str:
    """The name of a variable in the checkpoint; parts of a partitioned variable have the name of the complete one."""
    key = source_of(name, shapes, str, saved).key
    return key + AVERAGE if key not in shapes and key + AVERAGE in shapes else key  # only its moving average is saved


def report_variables(
    checkpoint: Checkpoint, training: Optional[TrainingGraph], fit: Fit, served: Sequence[str]
) -> VariableReport:
    """Report on the variables of a checkpoint and those that it lacks; `served` are the output tensors."""
    dtypes = {name: (dtype.base_dtype.name, _width(dtype)) for name, dtype in checkpoint.dtypes.items()}
    variables = roles.with_roles(checkpoint.shapes, dtypes, _names(checkpoint))
    weights = [v for v in variables if v.role == roles.WEIGHTS]
    needed = training.weights_of(map(parsed, served)) if training else set()
    return VariableReport(
        variables=tuple(variables),
        step=checkpoint.step if checkpoint.step is not None else _step_of_objects(checkpoint),
        is_object_based=checkpoint.is_object_based,
        averaged=sum(v.name + AVERAGE in checkpoint.shapes for v in weights),
        averageable=len(weights),
        missing=tuple(fit.missing),
        missing_needed=tuple(name for name in fit.missing if name in needed),
        misshapen=tuple(fit.misshapen),
        unused=tuple(fit.unused),
    )


def _names(checkpoint: Checkpoint) -> Optional[Mapping[str, str]]:
    """The paths of the variables of an object-based checkpoint in their models; None for another checkpoint."""
    if not checkpoint.is_object_based:
        return None
    try:
        return read_objects(checkpoint).names()
    except CheckpointError:
        return {}  # damaged; inspection.report has a remark on it


def _width(dtype: tf.DType) -> int:
    return 0 if dtype.base_dtype.name in ("string", "resource", "variant") else dtype.base_dtype.size


def _step_of_objects(checkpoint: Checkpoint) -> Optional[int]:
    """The training step in an object-based checkpoint, if it has one of the usual names."""
    usual = ("global_step", "step", "optimizer/iter", "optimizer/iterations", "optimizer/_iterations", "save_counter")
    keys = [name + roles.VALUE for name in usual]
    scalars = [name for name in checkpoint.shapes if name.endswith("/global_step")]
    keys += scalars if len(scalars) == 1 else []
    key = next((key for key in keys if checkpoint.shapes.get(key) == () and checkpoint.dtypes[key].is_integer), None)
    if key is None:
        return None
    try:
        return int(values(checkpoint, [key])[key])
    except CheckpointError:
        return None  # damaged
