"""Batch norm by hand, in training and in inference, and switches between the two."""

from __future__ import annotations

import pytest

from ckpt2saved.graph.tf1 import tf
from tests.support.networks import variable


def norm_variables():
    return [variable("bn/" + name) for name in ("gamma", "beta", "moving_mean", "moving_variance")]


def inference_norm(x):
    gamma, beta, mean, variance = norm_variables()
    return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-3)


def fused(x, training):
    with tf.variable_scope(""):
        gamma, beta, mean, variance = norm_variables()
    if training:
        y, batch_mean, batch_variance = tf.nn.fused_batch_norm(x, gamma, beta, epsilon=1e-3, name="bn/fused")
        update(mean, batch_mean)
        update(variance, batch_variance)
        return y
    return tf.nn.fused_batch_norm(x, gamma, beta, mean, variance, epsilon=1e-3, is_training=False)[0]


def update(moving, batch, decay=0.9):
    """What assign_moving_average does."""
    return tf.assign_sub(moving, (moving - batch) * (1 - decay))


def plain(x):
    return tf.tanh(x)


def old_dropout(x, keep, noise_shape=None):
    """tf.nn.dropout of TensorFlow 1.0 to 1.12."""
    shape = tf.shape(x) if noise_shape is None else noise_shape
    mask = tf.floor(keep + tf.random_uniform(shape))
    return (x / keep) * mask


def stock(x, keep):
    return tf.nn.dropout(x, rate=1 - keep)


def is_train():
    return tf.placeholder(tf.bool, [], name="is_train")


needs_case = pytest.mark.skipif(not hasattr(tf.raw_ops, "StatelessCase"), reason="TensorFlow 1.14 has no Case")


def noise(x):
    return x + 0.1 * tf.random_normal(tf.shape(x))


def centred(x):
    return x - tf.reduce_mean(x, 0)
