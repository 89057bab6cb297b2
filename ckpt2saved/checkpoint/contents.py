"""The tensors of a checkpoint, and their assignment to the variables of a graph."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Callable, Collection, Dict, FrozenSet, List, Mapping, Optional, Sequence, Tuple

from ckpt2saved.checkpoint.derived import Derived
from ckpt2saved.checkpoint.files import CheckpointFiles
from ckpt2saved.checkpoint.roles import OBJECT_GRAPH
from ckpt2saved.checkpoint.savers import Saved
from ckpt2saved.errors import CheckpointError, UsageError
from ckpt2saved.errors.problem import Problem, listed
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.signature.tensors import shape_text

Shape = Tuple[int, ...]

# What tf.train.ExponentialMovingAverage appends to the name of a variable for its average.
AVERAGE = "/ExponentialMovingAverage"
# Batch norm's statistics are averages already; no optimizer trains them, and ExponentialMovingAverage leaves them out.
_STATISTICS = ("/moving_mean", "/moving_variance")
# Names that TensorFlow 1.2 changed in its LSTM cells, and that layer libraries spell one way or the other.
_RENAMINGS = (("kernel$", "weights"), ("bias$", "biases"), ("weights$", "kernel"), ("biases$", "bias"))
# Errors of TensorFlow's readers for files that they can't read: 2.x converts a status to the nearest Python error.
UNREADABLE = (tf.errors.OpError, ValueError, RuntimeError, LookupError)


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a checkpoint by name; values stay on disk."""

    files: CheckpointFiles
    shapes: Mapping[str, Shape]
    dtypes: Mapping[str, tf.DType]
    step: Optional[int]  # global_step, where there is one
    unknown_dtypes: Mapping[str, int] = field(default_factory=dict)  # tensors that this TensorFlow has no dtype for

    @property
    def is_object_based(self) -> bool:
        """Return whether tf.train.Checkpoint or Keras wrote it, so that tensors are named by objects."""
        return OBJECT_GRAPH in self.shapes

    def variables(self) -> Dict[str, Shape]:
        """Return name -> shape of possible variables, including those with only a moving average."""
        averaged = {name[: -len(AVERAGE)]: shape for name, shape in self.shapes.items() if name.endswith(AVERAGE)}
        averaged.update({name: shape for name, shape in self.shapes.items() if not name.endswith(AVERAGE)})
        return averaged


@dataclass(frozen=True)
class Variable:
    """A variable of a graph; `name` is that of its node."""

    name: str
    shape: Tuple[Optional[int], ...]
    dtype: tf.DType


@dataclass(frozen=True)
class SavedTable:
    """The checkpoint tensors with the content of a lookup table."""

    keys: str
    values: str

    @property
    def names(self) -> Tuple[str, str]:
        """Return the names of both tensors."""
        return self.keys, self.values


@dataclass(frozen=True)
class Weights:
    """The checkpoint tensor for each variable of a graph, and for each saved lookup table."""

    kind: str  # "raw" or "ema"
    keys: Mapping[str, str]  # variable -> name in the checkpoint
    reason: str  # why this kind was chosen
    slices: Mapping[str, str] = field(default_factory=dict)  # variable -> which part of that tensor it is, if not all
    tables: Mapping[str, SavedTable] = field(default_factory=dict)
    derived: Mapping[str, Derived] = field(default_factory=dict)  # variable, or a new one -> what is stored for it
    unstored: FrozenSet[str] = frozenset()  # variables needed only to derive others

    @property
    def added(self) -> List[str]:
        """Return the variables that the checkpoint does not have: derived ones with names of their own."""
        return sorted(self.derived.keys() - self.keys.keys())

    @property
    def stored(self) -> Dict[str, str]:
        """Return name in the SavedModel -> name in the checkpoint, without added variables."""
        found = {name: key for name, key in self.keys.items() if name not in self.unstored}
        for table, saved in self.tables.items():
            found.update(zip(served_as(table).names, saved.names))
        return found


def served_as(table: str) -> SavedTable:
    """Return the names under which a SavedModel stores a lookup table."""
    return SavedTable(table + "-keys", table + "-values")


def open_checkpoint(files: CheckpointFiles) -> Checkpoint:
    """Read names, shapes and dtypes of a checkpoint; raises CheckpointError if it can't be read."""
    try:
        reader = tf.train.NewCheckpointReader(files.for_tensorflow)
        shapes = {name: tuple(shape) for name, shape in reader.get_variable_to_shape_map().items()}
        numbers = dict(reader._GetVariableToDataTypeMap())  # what get_variable_to_dtype_map makes dtypes of, or fails
    except UNREADABLE as error:
        raise CheckpointError(f"{files.prefix}: TensorFlow can't read this checkpoint: {error}") from error
    dtypes: Dict[str, tf.DType] = {}
    unknown: Dict[str, int] = {}
    for name, number in numbers.items():
        try:
            dtypes[name] = tf.as_dtype(number)
        except TypeError:
            unknown[name] = number
            shapes.pop(name, None)
    return Checkpoint(files=files, shapes=shapes, dtypes=dtypes, step=_step(reader, shapes), unknown_dtypes=unknown)


def _step(reader: Any, shapes: Mapping[str, Shape]) -> Optional[int]:
    if shapes.get("global_step") != ():
        return None
    try:
        return int(reader.get_tensor("global_step"))
    except UNREADABLE + (OverflowError,):
        return None  # damage is reported when all tensors are read


def misfits(expected: Mapping[str, Sequence[Optional[int]]], found: Mapping[str, Shape]) -> List[Problem]:
    """Return a problem for each variable that `found` lacks or has in another shape; None matches every size."""
    problems = []
    for name, shape in expected.items():
        shown = shape_text(shape)
        if name not in found:
            problems.append(Problem("missing-variable", name, "missing", f"expected {shown}"))
        elif len(found[name]) != len(shape) or any(w not in (None, f) for w, f in zip(shape, found[name])):
            problems.append(Problem("misshapen-variable", name, f"found {shape_text(found[name])}, expected {shown}"))
    return problems


@dataclass(frozen=True)
class Naming:
    """The mapping from variables to checkpoint names, and the variables without moving averages."""

    rename: Callable[[str], str] = str  # a variable's name -> the checkpoint's
    saved: Mapping[str, Sequence[Saved]] = field(default_factory=dict)  # variable -> what the graph's Savers call it
    untrained: Collection[str] = ()  # the variables that no optimizer updates


def choose_weights(
    checkpoint: Checkpoint,
    variables: Sequence[Variable],
    weights: str,
    naming: Naming = Naming(),
    must_choose: bool = False,
) -> Weights:
    """Return the tensors for these variables of a graph, by `weights`: raw, ema (moving averages) or auto.

    auto takes moving averages if the checkpoint has one for every variable except batch norm statistics; if the user
    `must_choose` between raw weights and averages it raises UsageError. A variable that is missing under its renamed
    name is looked up under the names in its Savers. Raises CheckpointError with every variable that is missing or
    differs in shape or dtype.
    """
    if not variables:
        return Weights("raw", {}, "the graph has no variables")
    sources = {
        variable.name: source_of(variable.name, checkpoint.shapes, naming.rename, naming.saved)
        for variable in variables
    }
    _refuse_shared(sources)
    names = {name: source.key for name, source in sources.items()}
    parts = {name: source for name, source in sources.items() if source.slice}
    averaged = [name for name in names.values() if name + AVERAGE in checkpoint.shapes]
    needing = [
        name for variable, name in names.items() if variable not in naming.untrained and not name.endswith(_STATISTICS)
    ]
    without = [name for name in needing if name not in averaged]
    if averaged and must_choose and weights == "auto":
        raise UsageError(
            f"{checkpoint.files.prefix}: it holds moving averages of {len(averaged)} of the {len(names)} variables, and"
            " the graph does not say whether inference uses them: pass --weights ema (the averages) or --weights raw"
            " (the variables themselves)"
        )
    kind, reason = _kind(weights, averaged, without)
    if kind == "ema" and without:
        raise CheckpointError(
            f"{checkpoint.files.prefix}: --weights ema needs an average of every variable, and {len(without)} of"
            f" {len(names)} have none; pass --weights raw to serve the raw weights",
            [Problem("missing-average", name + AVERAGE, "missing") for name in without],
        )
    keys = {v: name + AVERAGE if kind == "ema" and name in averaged else name for v, name in names.items()}
    problems = _mismatches(checkpoint, variables, keys, parts)
    if problems:
        raise CheckpointError(
            f"{checkpoint.files.prefix}: {len(problems)} of the graph's {len(names)} variables do not"
            f" fit{_rename_hint(checkpoint, variables, names)}",
            problems,
        )
    return Weights(kind, keys, reason, {name: part.slice for name, part in parts.items()})


def choose_weights_of_each(
    networks: Sequence[str], checkpoint: Checkpoint, variables: Sequence[Variable], kind: str, naming: Naming
) -> Weights:
    """The tensors for the variables of several networks; of each, raw weights or averages are chosen alone."""
    found = {}
    for network in networks:
        own = [variable for variable in variables if variable.name.startswith(network + "/")]
        found[network] = choose_weights(checkpoint, own, kind, naming)
    kinds = {weights.kind for weights in found.values()}
    return Weights(
        kinds.pop() if len(kinds) == 1 else "mixed",
        {name: key for weights in found.values() for name, key in weights.keys.items()},
        "; ".join(f"{network}: {weights.kind}, {weights.reason}" for network, weights in found.items()),
    )


def source_of(
    name: str, shapes: Mapping[str, Shape], rename: Callable[[str], str], saved: Mapping[str, Sequence[Saved]]
) -> Saved:
    """Return the checkpoint tensor for a variable: by its own name, or by the name in its Saver."""
    own = Saved(rename(name))
    if own.key in shapes or own.key + AVERAGE in shapes:
        return own
    # A Saver that only restores, for example a backbone, may use names under which other variables are saved.
    alone = [o for o in saved.get(name, ()) if o.key not in saved and sum(o in held for held in saved.values()) == 1]
    found = [Saved(rename(other.key), other.slice) for other in alone]
    found = [other for other in found if other.key in shapes or other.key + AVERAGE in shapes]
    return found[0] if len(set(found)) == 1 else own


def _refuse_shared(sources: Mapping[str, Saved]) -> None:
    """Raise UsageError if a renaming maps several variables to one tensor, which would go unnoticed."""
    takers: Dict[Saved, List[str]] = {}
    for variable, source in sources.items():
        takers.setdefault(source, []).append(variable)
    problems = [
        Problem("shared-variable", key, f"{' and '.join(variables)} would read it")
        for key, variables in sorted((source.key, sorted(variables)) for source, variables in takers.items())
        if len(variables) > 1
    ]
    if problems:
        raise UsageError("--map: it gives several variables of the graph one name in the checkpoint", problems)


def _rename_hint(checkpoint: Checkpoint, variables: Sequence[Variable], names: Mapping[str, str]) -> str:
    """Return the --map option that finds missing variables, if a usual renaming does."""
    shapes = checkpoint.variables()
    missing = {names[v.name]: v.shape for v in variables if names[v.name] not in shapes}
    found = []
    for pattern, replacement in _RENAMINGS + _scopes(missing, shapes):
        renamed = {name: re.sub(pattern, replacement, name) for name in missing}
        there = [name for name, new in renamed.items() if new != name and shapes.get(new) == missing[name]]
        if there:
            found.append(f"--map '{pattern}={replacement}' finds {len(there)} of them")
    if found:
        return "; " + ", ".join(found)
    return (
        "; none of them is in the checkpoint: is the graph of another training?" if len(missing) == len(names) else ""
    )


def _scopes(missing: Mapping[str, Any], shapes: Mapping[str, Shape]) -> Tuple[Tuple[str, str], ...]:
    """Return a scope that encloses all names of only the checkpoint, or only the graph."""
    for name in sorted(missing):
        around = [held[: -len(name)] for held in sorted(shapes) if held.endswith("/" + name)]
        if around:
            return (("^", around[0]),)
        scope, slash, inner = name.partition("/")
        if slash and inner in shapes:
            return ((f"^{re.escape(scope)}/", ""),)
    return ()


def _kind(weights: str, averaged: Sequence[str], without: Sequence[str]) -> Tuple[str, str]:
    if weights in ("raw", "ema"):
        return weights, "as --weights asks"
    if weights != "auto":
        raise UsageError(f"--weights: {weights!r} is not auto, raw or ema")
    if not averaged:
        return "raw", "the checkpoint holds no moving averages"
    if without:
        return "raw", f"the checkpoint holds moving averages, but none of {listed(without, 1)}"
    return "ema", "the checkpoint holds moving averages of all trained variables"


def _mismatches(
    checkpoint: Checkpoint, variables: Sequence[Variable], keys: Mapping[str, str], parts: Mapping[str, Saved]
) -> List[Problem]:
    wholes = {name: part.whole for name, part in parts.items()}
    expected = {keys[v.name]: wholes.get(v.name) or v.shape for v in variables}
    problems = misfits(expected, checkpoint.shapes)
    for variable in variables:
        key, dtype = keys[variable.name], variable.dtype
        if key in checkpoint.dtypes and checkpoint.dtypes[key] != dtype:
            problems.append(
                Problem("variable-dtype", key, f"found {checkpoint.dtypes[key].name}, expected {dtype.name}")
            )
    return problems
