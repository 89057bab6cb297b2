"""Reading of a checkpoint's tensors into variables, and detection of damaged tensors."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any, Collection, Dict, Iterator, List, Sequence, Tuple

import numpy as np

from ckpt2saved.checkpoint.contents import UNREADABLE, Checkpoint, Weights
from ckpt2saved.checkpoint.index import index_of, is_cut_off
from ckpt2saved.console.reasons import reason_in
from ckpt2saved.errors import CheckpointError, Ckpt2SavedError
from ckpt2saved.errors.problem import Note, Problem, listed
from ckpt2saved.files.write_errors import error_in
from ckpt2saved.graph.tf1 import open_session, session_config, tf

# TensorFlow compares the checksums of these dtypes only while creating objects, of types that may be unknown here.
_OBJECTS = (tf.variant, tf.resource)
# A wrong checksum or size; a data file that ends too early; a data file, or in a V1 checkpoint a tensor, that is gone.
_DAMAGE = (tf.errors.DataLossError, tf.errors.OutOfRangeError, tf.errors.NotFoundError)
_MOST = 3
_SMALL = 1 << 16  # values

Part = Tuple[str, str]  # a tensor's name in the checkpoint, and the slice of it, "" for all


@dataclass(frozen=True)
class Unread:
    """Tensors that could not be read, with a problem for each."""

    damaged: Tuple[Problem, ...]
    others: Tuple[Problem, ...]  # the available bytes are intact


def check_unserved(checkpoint: Checkpoint, weights: Weights) -> List[Note]:
    """Read every tensor that is not served, since damage elsewhere makes the whole file suspect.

    Served tensors are checked when they are copied. Raises CheckpointError with every damaged tensor. Returns a note
    for undamaged tensors that can't be read: slices may be missing, for example of optimizer slots of partitioned
    variables.
    """
    if not checkpoint.dtypes and not checkpoint.unknown_dtypes:
        return []
    served = {key for variable, key in weights.stored.items() if variable not in weights.slices}
    rest = [(key, "") for key in sorted(checkpoint.dtypes) if key not in served]
    unread = _read(checkpoint, rest)
    if unread.damaged:
        everything = _read(checkpoint, [(key, "") for key in sorted(checkpoint.dtypes)])
        raise _damage(checkpoint, everything.damaged)
    notes = []
    if unread.others:
        names = [problem.where for problem in unread.others]
        found = f"not served, and cannot be read whole: {listed(names, _MOST)} ({unread.others[0].found})"
        notes.append(Note("unreadable-tensor", "", found))
    if checkpoint.unknown_dtypes:
        names = [f"{name} ({number})" for name, number in sorted(checkpoint.unknown_dtypes.items())]
        lacking = f"TensorFlow {tf.version.VERSION} does not know the dtype of {listed(names, _MOST)}"
        found = f"not served, and not read: {lacking}"
        notes.append(Note("unknown-dtype", "", found))
    return notes


def restore(session: tf.Session, saver_def: Any, checkpoint: Checkpoint, weights: Weights) -> None:
    """Restore the variables of a session; raises CheckpointError with every unreadable tensor."""
    try:
        session.run(saver_def.restore_op_name, {saver_def.filename_tensor_name: checkpoint.files.for_tensorflow})
    except UNREADABLE as error:
        raise unreadable(checkpoint, weights, error) from error


def unreadable(checkpoint: Checkpoint, weights: Weights, error: Exception) -> Ckpt2SavedError:
    """Return the error for a TensorFlow error while reading these weights, with every unreadable tensor."""
    parts = {(key, weights.slices.get(variable, "")) for variable, key in weights.stored.items()}
    return failure(checkpoint, sorted(parts), error)


def values(checkpoint: Checkpoint, keys: Sequence[str]) -> Dict[str, Any]:
    """Return the values of some tensors by name; raises CheckpointError with every unreadable one."""
    try:
        reader = tf.train.NewCheckpointReader(checkpoint.files.for_tensorflow)
        return {key: reader.get_tensor(key) for key in keys}
    except UNREADABLE as error:
        raise failure(checkpoint, [(key, "") for key in keys], error) from error


def failure(checkpoint: Checkpoint, parts: Sequence[Part], error: Exception) -> Ckpt2SavedError:
    """Return the error for a TensorFlow error while reading these tensors: damaged, or unreadable.

    Raises an OSError instead if the error is about a file that was being written.
    """
    disk = error_in(str(error))
    if disk is not None and not disk.filename.startswith(
        (str(checkpoint.files.prefix), checkpoint.files.for_tensorflow)
    ):
        raise disk from error
    unread = _read(checkpoint, parts)
    if unread.damaged:
        return _damage(checkpoint, unread.damaged)
    if unread.others:
        return CheckpointError(f"{checkpoint.files.prefix}: tensors that are needed cannot be read", unread.others)
    # All tensors are readable: another cause, such as a full disk.
    return Ckpt2SavedError(f"{checkpoint.files.prefix}: its variables can't be copied: {_reason(error)}")


def _damage(checkpoint: Checkpoint, problems: Sequence[Problem]) -> CheckpointError:
    return CheckpointError(
        f"{checkpoint.files.prefix}: this checkpoint is damaged; take another one, or copy it again", problems
    )


def is_as_initialised(checkpoint: Checkpoint, mean: str, variance: str) -> bool:
    """Return whether moving statistics have their initial values, mean 0 and variance 1, throughout."""
    if mean not in checkpoint.shapes or variance not in checkpoint.shapes:
        return False
    found = values(checkpoint, (mean, variance))
    return not np.any(found[mean]) and bool(np.all(np.asarray(found[variance]) == 1))


def _read(checkpoint: Checkpoint, parts: Sequence[Part]) -> Unread:
    """Read these tensors one by one, which compares checksums; values are discarded."""
    index = index_of(checkpoint.files)
    damaged: List[Problem] = []
    others: List[Problem] = []
    for key in list(checkpoint.unknown_dtypes) + [k for k, d in checkpoint.dtypes.items() if d in _OBJECTS]:
        entry = index.entry(key)
        if entry is not None and is_cut_off(checkpoint.files, [entry]):
            damaged.append(Problem("damaged-tensor", key, "its data file ends before it does"))
    parts = [one for one in parts if checkpoint.dtypes[one[0]] not in _OBJECTS]
    small = _readable(checkpoint, [key for key, part in parts if not part])
    with _reading(checkpoint) as read:
        for key, part in parts:
            error = None if key in small else read(key, part)
            if error is None:
                continue
            entry = index.entry(key)
            if not isinstance(error, _DAMAGE) and entry is not None:
                # Available slices of an incomplete tensor can be damaged.
                errors = [read(key, stored) for stored in entry.slices]
                error = next((one for one in errors if isinstance(one, _DAMAGE)), error)
            if isinstance(error, _DAMAGE):
                damaged.append(Problem("damaged-tensor", key, _reason(error)))
            else:
                others.append(Problem("unreadable-tensor", key, _reason(error)))
    return Unread(tuple(damaged), tuple(others))


def _readable(checkpoint: Checkpoint, keys: Sequence[str]) -> Collection[str]:
    """Return the small tensors that TensorFlow's reader can read, which is faster than one op each."""
    found = set()
    reader = None
    for key in keys:
        if np.prod(checkpoint.shapes[key], dtype=float) > _SMALL:
            continue
        try:
            reader = reader or tf.train.NewCheckpointReader(checkpoint.files.for_tensorflow)
            reader.get_tensor(key)
            found.add(key)
        except UNREADABLE:
            reader = None  # a reader that failed once may crash on the next call
    return found


@contextlib.contextmanager
def _reading(checkpoint: Checkpoint) -> Iterator[Any]:
    """Yield a function that reads a tensor or slice and returns the error, or None.

    It uses RestoreV2, whose error types are equal in all TensorFlow releases, and which makes no second copy of a
    value.
    """
    config = session_config()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    operations: Dict[tf.DType, tf.Operation] = {}
    with tf.Graph().as_default(), open_session(config=config) as session:
        name, part = tf.placeholder(tf.string, []), tf.placeholder(tf.string, [])

        def read(key: str, stored: str) -> Any:
            dtype = checkpoint.dtypes[key]
            if dtype not in operations:
                (tensor,) = tf.raw_ops.RestoreV2(
                    prefix=checkpoint.files.for_tensorflow, tensor_names=[name], shape_and_slices=[part], dtypes=[dtype]
                )
                operations[dtype] = tensor.op
            try:
                session.run(operations[dtype], {name: key, part: stored})
            except tf.errors.OpError as error:
                return error
            return None

        yield read


def _reason(error: Exception) -> str:
    return reason_in(error.message if isinstance(error, tf.errors.OpError) else str(error)) or type(error).__name__
