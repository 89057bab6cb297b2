"""Directories that a training writes into."""

from __future__ import annotations

import os


def place(prefix, made, seconds=None):
    """Copy the files of a checkpoint, the index last, as tf.train.Saver does; at a time of the past if `seconds`."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    for ending in (".data-00000-of-00001", ".index"):
        path = prefix.with_name(prefix.name + ending)
        unfinished = path.with_name(path.name + ".tempstate123")
        unfinished.write_bytes(made.with_name(made.name + ending).read_bytes())
        if seconds is not None:
            os.utime(str(unfinished), (seconds, seconds))
        unfinished.replace(path)
    return prefix


def write_state(directory, *names):
    """The state file that lists checkpoints, the latest last."""
    lines = [f'model_checkpoint_path: "{names[-1]}"'] + [f'all_model_checkpoint_paths: "{name}"' for name in names]
    (directory / "checkpoint").write_text("\n".join(lines) + "\n")


def delete(prefix):
    """Delete the files of a checkpoint, as a training that keeps the latest ones."""
    for path in prefix.parent.glob(prefix.name + ".*"):
        path.unlink()
