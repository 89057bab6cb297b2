"""Checkpoints of single tensors."""

from __future__ import annotations

from ckpt2saved.checkpoint.contents import open_checkpoint
from ckpt2saved.checkpoint.files import find_checkpoint
from ckpt2saved.graph.tf1 import tf

# A checkpoint of w float32 [2] and w/scale float8_e5m2 [3], which TensorFlow 1 has no dtype for.
FLOAT8 = {
    "index": "AAAGCAEaAggBAAEPdwgBEgQSAggCKAg1WTzlNQEGES9zY2FsZQgYEgQSAggDIAgoAzXPSLuJAAAAAAEAAAAAdSmIMwAAAAABAAAAAMDyobAA"
    "AQJ4AD4AAAAAAQAAAABk4EJIQwhQDgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAFf7gIskdUfb",
    "data-00000-of-00001": "AACAPwAAAEA8QEQ=",
}


def opened(path):
    return open_checkpoint(find_checkpoint(path))


def save(prefix, parts):
    """A checkpoint of slices: (name, slice of it or "", value)."""
    with tf.Graph().as_default(), tf.Session() as session:
        save = tf.raw_ops.SaveV2(
            prefix=str(prefix),
            tensor_names=[name for name, _, _ in parts],
            shape_and_slices=[part for _, part, _ in parts],
            tensors=[tf.constant(value) for _, _, value in parts],
        )
        session.run(save)
    return prefix
