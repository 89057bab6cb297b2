"""Normalization of CTC path scores to probabilities."""

from __future__ import annotations

from typing import Any, Tuple

from ckpt2saved.graph.tf1 import tf


def log_normalizers(logits: tf.Tensor, greatest: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """Return the sum [batch] over each sequence's steps of log(sum(exp(logits - greatest))).

    `logits` is [time, batch, classes], `greatest` [time, batch] each step's maximum, `lengths` int32 [batch]. Runs one
    step at a time to avoid a copy of the logits.
    """
    steps = tf.shape(logits)[0]

    def step(t: tf.Tensor, sums: tf.Tensor) -> Tuple[Any, ...]:
        part = tf.log(tf.reduce_sum(tf.exp(logits[t] - greatest[t][:, None]), 1))
        return t + 1, sums + tf.where(t < lengths, part, tf.zeros_like(part))

    return tf.while_loop(lambda t, _: t < steps, step, [tf.constant(0), tf.zeros_like(greatest[0])])[1]
