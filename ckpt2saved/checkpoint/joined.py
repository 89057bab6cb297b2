"""The checkpoints of several networks as one: a copy of the tensors that are needed, below the networks' names."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Iterator, Mapping, Sequence, Tuple

from ckpt2saved.checkpoint.contents import UNREADABLE, Checkpoint, Weights, open_checkpoint
from ckpt2saved.checkpoint.files import find_checkpoint
from ckpt2saved.checkpoint.joined_files import JoinedFiles
from ckpt2saved.checkpoint.reading import check_unserved, failure
from ckpt2saved.errors.problem import Note
from ckpt2saved.graph.tf1 import open_session, tf


@dataclass(frozen=True)
class JoinedCheckpoint(Checkpoint):
    """The tensors of all networks, `NETWORK/NAME`."""

    parts: Mapping[str, Checkpoint] = field(default_factory=dict)  # by the names of the networks
    notes: Tuple[Note, ...] = ()  # on tensors that are not needed


@contextlib.contextmanager
def joined(
    files: JoinedFiles, parts: Mapping[str, Checkpoint], needed: Mapping[str, Sequence[str]]
) -> Iterator[JoinedCheckpoint]:
    """Copy the tensors `needed` of each checkpoint into a temporary one; raises CheckpointError for damaged ones."""
    notes: Tuple[Note, ...] = ()
    with tempfile.TemporaryDirectory(prefix="ckpt2saved-") as folder:
        target = Path(folder) / "joined"
        copies = []
        for number, (name, checkpoint) in enumerate(parts.items()):
            copied = Weights("raw", {key: key for key in needed[name]}, "")
            notes += tuple(replace(note, where=name) for note in check_unserved(checkpoint, copied))
            copies.append(f"{target}-{number}")
            _copy(checkpoint, needed[name], name, copies[-1])
        with tf.Graph().as_default(), open_session() as session:
            session.run(tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=copies, destination_prefix=str(target)))
        written = open_checkpoint(find_checkpoint(target))
        of_copy = replace(files, files=written.files.files, copy=target)
        yield JoinedCheckpoint(
            of_copy, written.shapes, dtypes=written.dtypes, step=None, parts=dict(parts), notes=notes
        )


def _copy(checkpoint: Checkpoint, keys: Sequence[str], network: str, target: str) -> None:
    with tf.Graph().as_default(), open_session() as session:
        tensors = tf.raw_ops.RestoreV2(
            prefix=checkpoint.files.for_tensorflow,
            tensor_names=list(keys),
            shape_and_slices=[""] * len(keys),
            dtypes=[checkpoint.dtypes[key] for key in keys],
        )
        names = [f"{network}/{key}" for key in keys]
        save = tf.raw_ops.SaveV2(prefix=target, tensor_names=names, shape_and_slices=[""] * len(keys), tensors=tensors)
        try:
            session.run(save)
        except UNREADABLE as error:
            raise failure(checkpoint, [(key, "") for key in keys], error) from error
