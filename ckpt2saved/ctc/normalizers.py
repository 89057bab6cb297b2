"""Normalization of CTC path scores to probabilities."""

from __future__ import annotations

from typing import Any, Tuple

from ckpt2saved.graph.tf1 import tf

# Logits that are computed at once: few of them cost less than the nodes of an iteration, many would be a large copy.
_AT_ONCE = 1 << 18


def log_normalizers(logits: tf.Tensor, greatest: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """Return the sum [batch] over each sequence's steps of log(sum(exp(logits - greatest))).

    `logits` is [time, batch, classes], `greatest` [time, batch] each step's maximum, `lengths` int32 [batch]. Runs a
    few steps at a time to avoid a copy of the logits.
    """
    shape = tf.shape(logits)
    steps, size = shape[0], tf.reduce_prod(tf.cast(shape[1:], tf.float32))
    block = tf.cast(tf.maximum(_AT_ONCE / tf.maximum(size, 1.0), 1.0), tf.int32)

    def add_block(t: tf.Tensor, sums: tf.Tensor) -> Tuple[Any, ...]:
        few = slice(t, t + block)
        parts = tf.log(tf.reduce_sum(tf.exp(logits[few] - greatest[few][:, :, None]), 2))
        during = tf.range(t, tf.minimum(t + block, steps))[:, None] < lengths
        return t + block, sums + tf.reduce_sum(tf.where(during, parts, tf.zeros_like(parts)), 0)

    return tf.while_loop(lambda t, _: t < steps, add_block, [tf.constant(0), tf.zeros_like(greatest[0])])[1]
