"""What a checkpoint holds, whether it fits a graph, and which of its tensors go into which variable."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Callable, Collection, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ckpt2saved.checkpoint_files import CheckpointFiles
from ckpt2saved.errors import CheckpointError, Ckpt2SavedError, UsageError
from ckpt2saved.reasons import reason_in
from ckpt2saved.savers import Saved
from ckpt2saved.tf1 import tf

Shape = Tuple[int, ...]

# What tf.train.ExponentialMovingAverage appends to the name of a variable for its average.
AVERAGE = "/ExponentialMovingAverage"
# Batch norm's statistics are averages already; no optimizer trains them, and ExponentialMovingAverage leaves them out.
_STATISTICS = ("/moving_mean", "/moving_variance")
# What TensorFlow 1.2 renamed in its LSTM cells, and layers libraries call one way or the other.
_RENAMINGS = (("kernel$", "weights"), ("bias$", "biases"), ("weights$", "kernel"), ("biases$", "bias"))
# What TensorFlow's readers raise for files that they can't read: 2.x turns a status into the nearest Python error.
_UNREADABLE = (tf.errors.OpError, ValueError, RuntimeError, LookupError)


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a checkpoint by name; their values stay on disk."""

    files: CheckpointFiles
    shapes: Mapping[str, Shape]
    dtypes: Mapping[str, tf.DType]
    step: Optional[int]  # global_step, where there is one

    def variables(self) -> Dict[str, Shape]:
        """Name -> shape of the variables that a graph could have; one that is there only as an average counts."""
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
class Weights:
    """Which tensor of a checkpoint each variable of a graph gets."""

    kind: str  # "raw" or "ema"
    keys: Mapping[str, str]  # variable -> name in the checkpoint
    remark: str  # why this kind
    slices: Mapping[str, str] = field(default_factory=dict)  # variable -> which part of that tensor it is, if not all


def open_checkpoint(files: CheckpointFiles) -> Checkpoint:
    """Read the names, shapes and dtypes in a checkpoint; raises CheckpointError where it can't be read."""
    try:
        reader = tf.train.NewCheckpointReader(str(files.prefix))
        shapes = {name: tuple(shape) for name, shape in reader.get_variable_to_shape_map().items()}
        dtypes = dict(reader.get_variable_to_dtype_map())
    except _UNREADABLE as error:
        raise CheckpointError("{}: TensorFlow can't read this checkpoint: {}".format(files.prefix, error)) from error
    return Checkpoint(files, shapes, dtypes, _step(reader, shapes))


def _step(reader: Any, shapes: Mapping[str, Shape]) -> Optional[int]:
    if shapes.get("global_step") != ():
        return None
    try:
        return int(reader.get_tensor("global_step"))
    except _UNREADABLE + (OverflowError,):
        return None  # damaged, which check_whole says


def check_whole(checkpoint: Checkpoint) -> None:
    """Read every tensor, so also those that are not served: a file with a damaged one can't be trusted for the others.

    Each has a checksum. Raises CheckpointError with all that can't be read. An iterator's state can't be read here.
    """
    readable = [key for key, dtype in checkpoint.dtypes.items() if dtype not in (tf.variant, tf.resource)]
    problems = _damaged(checkpoint, sorted(readable))
    if problems:
        raise _damage(checkpoint, problems)


def _damaged(checkpoint: Checkpoint, keys: Iterable[str]) -> List[str]:
    reader = tf.train.NewCheckpointReader(str(checkpoint.files.prefix))
    problems = []
    for key in keys:
        try:
            np.asarray(reader.get_tensor(key))
        except _UNREADABLE as problem:
            problems.append("{}: {}".format(key, _reason(problem)))
    return problems


def _damage(checkpoint: Checkpoint, problems: Sequence[str]) -> CheckpointError:
    return CheckpointError(
        "{}: this checkpoint is damaged; take another one, or copy it again".format(checkpoint.files.prefix), problems
    )


def misfits(expected: Mapping[str, Sequence[Optional[int]]], found: Mapping[str, Shape]) -> List[str]:
    """One line for each variable that `found` lacks or has in another shape; None in a shape fits every size."""
    problems = []
    for name, shape in expected.items():
        wanted = _shape_text(shape)
        if name not in found:
            problems.append("{}: missing; expected {}".format(name, wanted))
        elif len(found[name]) != len(shape) or any(w not in (None, f) for w, f in zip(shape, found[name])):
            problems.append("{}: found {}, expected {}".format(name, _shape_text(found[name]), wanted))
    return problems


def _shape_text(shape: Sequence[Optional[int]]) -> str:
    return "[{}]".format(", ".join("?" if size is None else str(size) for size in shape))


def choose_weights(
    checkpoint: Checkpoint,
    variables: Sequence[Variable],
    weights: str,
    rename: Callable[[str], str] = str,
    must_choose: bool = False,
    saved: Mapping[str, Sequence[Saved]] = {},
    frozen: Collection[str] = (),
) -> Weights:
    """The tensors for these variables of a graph, by `weights`: raw, ema (moving averages) or auto.

    auto takes the averages where the checkpoint holds one for every variable, batch norm's statistics aside; where
    the user `must_choose` between raw weights and averages it raises UsageError. `rename` makes the checkpoint's name
    of a variable's; one that is not there is looked for under the names that it is `saved` as. Those that are `frozen`
    need no average. Raises CheckpointError with every variable that is missing or differs in shape or dtype.
    """
    sources = {variable.name: source_of(variable.name, checkpoint.shapes, rename, saved) for variable in variables}
    _refuse_shared(sources)
    names = {name: source.key for name, source in sources.items()}
    parts = {name: source for name, source in sources.items() if source.slice}
    averaged = [name for name in names.values() if name + AVERAGE in checkpoint.shapes]
    needing = [name for variable, name in names.items() if variable not in frozen and not name.endswith(_STATISTICS)]
    without = [name for name in needing if name not in averaged]
    if averaged and must_choose and weights == "auto":
        raise UsageError(
            "{}: it holds moving averages of {} of the {} variables, and the graph does not say whether inference uses "
            "them: pass --weights ema (the averages) or --weights raw (the variables themselves)".format(
                checkpoint.files.prefix, len(averaged), len(names)
            )
        )
    kind, remark = _kind(weights, averaged, without)
    if kind == "ema" and without:
        raise CheckpointError(
            "{}: --weights ema needs an average of every variable, and {} of {} have none; "
            "pass --weights raw to serve the raw weights".format(checkpoint.files.prefix, len(without), len(names)),
            ["{}: missing".format(name + AVERAGE) for name in without],
        )
    keys = {v: name + AVERAGE if kind == "ema" and name in averaged else name for v, name in names.items()}
    problems = _mismatches(checkpoint, variables, keys, parts)
    if problems:
        raise CheckpointError(
            "{}: {} of the graph's {} variables do not fit{}".format(
                checkpoint.files.prefix, len(problems), len(names), _rename_hint(checkpoint, variables, names)
            ),
            problems,
        )
    return Weights(kind, keys, remark, {name: part.slice for name, part in parts.items()})


def source_of(
    name: str, shapes: Mapping[str, Shape], rename: Callable[[str], str], saved: Mapping[str, Sequence[Saved]]
) -> Saved:
    """The tensor of a checkpoint for a variable: of its own name, or of the one that its graph saves it under."""
    own = Saved(rename(name))
    if own.key in shapes or own.key + AVERAGE in shapes:
        return own
    # What a Saver only reads, a backbone of another network, say, may be called as somebody else's variable is saved.
    alone = [o for o in saved.get(name, ()) if o.key not in saved and sum(o in held for held in saved.values()) == 1]
    found = [Saved(rename(other.key), other.slice) for other in alone]
    found = [other for other in found if other.key in shapes or other.key + AVERAGE in shapes]
    return found[0] if len(set(found)) == 1 else own


def _refuse_shared(sources: Mapping[str, Saved]) -> None:
    """A renaming that is too broad would fill one variable with another's numbers, and nothing would show it."""
    takers = {}  # type: Dict[Saved, List[str]]
    for variable, source in sources.items():
        takers.setdefault(source, []).append(variable)
    problems = sorted(
        "{}: {} would read it".format(source.key, " and ".join(sorted(variables)))
        for source, variables in takers.items()
        if len(variables) > 1
    )
    if problems:
        raise UsageError("--map: it gives several variables of the graph one name in the checkpoint", problems)


def _rename_hint(checkpoint: Checkpoint, variables: Sequence[Variable], names: Mapping[str, str]) -> str:
    """What --map would have to say for missing variables to be found, if one of the usual renamings does it."""
    shapes = checkpoint.variables()
    missing = {names[v.name]: v.shape for v in variables if names[v.name] not in shapes}
    found = []
    for pattern, replacement in _RENAMINGS + _scopes(missing, shapes):
        renamed = {name: re.sub(pattern, replacement, name) for name in missing}
        there = [name for name, new in renamed.items() if new != name and shapes.get(new) == missing[name]]
        if there:
            found.append("--map '{}={}' finds {} of them".format(pattern, replacement, len(there)))
    return "; " + ", ".join(found) if found else ""


def _scopes(missing: Mapping[str, Any], shapes: Mapping[str, Shape]) -> Tuple[Tuple[str, str], ...]:
    """A scope around all the names that only the checkpoint has, or only the graph."""
    for name in sorted(missing):
        around = [held[: -len(name)] for held in sorted(shapes) if held.endswith("/" + name)]
        if around:
            return (("^", around[0]),)
        scope, slash, inner = name.partition("/")
        if slash and inner in shapes:
            return (("^{}/".format(re.escape(scope)), ""),)
    return ()


def _kind(weights: str, averaged: Sequence[str], without: Sequence[str]) -> Tuple[str, str]:
    if weights in ("raw", "ema"):
        return weights, "as --weights asks"
    if weights != "auto":
        raise UsageError("--weights: {!r} is neither auto, raw nor ema".format(weights))
    if not averaged:
        return "raw", "the checkpoint holds no moving averages"
    if without:
        return "raw", "the checkpoint holds moving averages, but none of {}{}".format(
            without[0], " and {} more".format(len(without) - 1) if len(without) > 1 else ""
        )
    return "ema", "the checkpoint holds moving averages of all that is trained"


def _mismatches(
    checkpoint: Checkpoint, variables: Sequence[Variable], keys: Mapping[str, str], parts: Mapping[str, Saved]
) -> List[str]:
    expected = {keys[v.name]: parts[v.name].whole if v.name in parts else v.shape for v in variables}
    problems = misfits(expected, checkpoint.shapes)
    for variable in variables:
        key, wanted = keys[variable.name], variable.dtype
        if key in checkpoint.dtypes and checkpoint.dtypes[key] != wanted:
            problems.append("{}: found {}, expected {}".format(key, checkpoint.dtypes[key].name, wanted.name))
    return problems


def restore(session: tf.Session, saver_def: Any, checkpoint: Checkpoint, weights: Weights) -> None:
    """Fill a session's variables; raises CheckpointError with every tensor that can't be read."""
    try:
        session.run(saver_def.restore_op_name, {saver_def.filename_tensor_name: str(checkpoint.files.prefix)})
    except _UNREADABLE as error:
        raise unreadable(checkpoint, weights, error) from error


def unreadable(checkpoint: Checkpoint, weights: Weights, error: Exception) -> Ckpt2SavedError:
    """What to say when tensors can't be read or written: TensorFlow names one at most, this tries to read them all."""
    problems = _damaged(checkpoint, sorted(weights.keys.values()))
    if not problems:  # every tensor can be read: a full disk, say, and no fault of the checkpoint's
        return Ckpt2SavedError("{}: its variables can't be copied: {}".format(checkpoint.files.prefix, _reason(error)))
    return _damage(checkpoint, problems)


def _reason(error: Exception) -> str:
    text = error.message if isinstance(error, tf.errors.OpError) else str(error)
    return reason_in(text) or type(error).__name__


def is_as_initialised(checkpoint: Checkpoint, mean: str, variance: str) -> bool:
    """Whether moving averages hold what they began with, a mean of 0 and a variance of 1 throughout."""
    reader = tf.train.NewCheckpointReader(str(checkpoint.files.prefix))
    if mean not in checkpoint.shapes or variance not in checkpoint.shapes:
        return False
    return not np.any(reader.get_tensor(mean)) and bool(np.all(reader.get_tensor(variance) == 1))
