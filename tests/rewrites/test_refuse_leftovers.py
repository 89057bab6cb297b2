"""What is left of training is refused, and what is the same in inference is not."""

from __future__ import annotations

import numpy as np
import pytest

from ckpt2saved.graph.tf1 import tf
from tests.support.batch_norms import centred, inference_norm, noise
from tests.support.networks import BATCH, FAILS, RANDOM, Built, answer, refused, variable


def standardized(x):
    """All of x to mean 0 and deviation 1, as tf.image.per_image_standardization was written at first."""
    x = x * 2
    mean = tf.reduce_mean(x)
    deviation = tf.sqrt(tf.nn.relu(tf.reduce_mean(tf.square(x)) - tf.square(mean)))
    lowest = 1 / tf.sqrt(tf.cast(tf.size(x), tf.float32))
    return tf.tanh((x - mean) / tf.maximum(deviation, lowest))


def test_one_picture_has_no_batch():
    """Its own mean and deviation are none of a batch, whatever the reduction says of the axes."""
    built = Built(standardized, sizes=[5, 7, 3])
    question = built.question()
    made = built.inference()
    assert made.edits == ()
    np.testing.assert_array_equal(answer(made.graph_def, question), answer(built.graph_def, question))


@pytest.mark.parametrize("sizes", [[None, 7, 1], [None, 5, 7, 3], [None, 7, 5]])
def test_rows_are_no_picture(sizes):
    """There may be a batch in front: what is subtracted depends on what else is in it."""
    refused(standardized, "", code="batch-statistics", wrong=BATCH, sizes=sizes)


def layer_norm(x):
    mean, variance = tf.nn.moments(x, [-1], keep_dims=True)
    return (x - mean) * tf.rsqrt(variance + 1e-6)


def attention(x):
    scores = tf.nn.softmax(tf.reduce_sum(x, [2, 3]))
    return x * scores[:, :, None, None] + tf.reduce_mean(x, [1, 2], keepdims=True)


def instance_norm(x):
    mean, variance = tf.nn.moments(x, [1, 2], keep_dims=True)
    return (x - mean) * tf.rsqrt(variance + 1e-6)


def weight_norm(x):
    weight = tf.get_variable("weight", [3, 3])
    return tf.tensordot(x, tf.nn.l2_normalize(weight, 0), 1)


def over_time(x):
    return tf.exp(x) / tf.reduce_sum(tf.exp(x), 0, keepdims=True)


@pytest.mark.parametrize("build", [layer_norm, attention, instance_norm, weight_norm, over_time, inference_norm])
def test_what_is_the_same_in_inference_stays(build):
    """Reductions that are no batch norm."""
    built = Built(build)
    made = built.inference()
    assert made.edits == ()
    np.testing.assert_array_equal(answer(made.graph_def, built.question()), answer(built.graph_def, built.question()))


def test_layer_norm_by_the_fused_op_stays():
    """Keras's: a batch of one, and the items are its channels."""

    def network(x):
        sizes = tf.shape(x)
        items = sizes[0] * sizes[1] * sizes[2]
        flat = tf.reshape(x, tf.stack([1, items, sizes[3], 1]))
        ones, zeros = tf.fill([items], 1.0), tf.fill([items], 0.0)
        return tf.reshape(tf.nn.fused_batch_norm(flat, ones, zeros, data_format="NCHW")[0], sizes)

    assert Built(network).inference().edits == ()
    refused(
        lambda x: tf.nn.fused_batch_norm(x, variable("gamma"), variable("beta"), data_format="NCHW")[0],
        "",
        code="batch-statistics",
        wrong=FAILS if tf.__version__.startswith("1.") else BATCH,  # no kernel of this layout on the CPU
        sizes=[None, 3, 4, 5],
    )


def unscaled_dropout(x):
    """At inference this would have to be scaled: nothing says that it is."""
    return x * tf.floor(0.5 + tf.random_uniform(tf.shape(x)))


def wrongly_scaled(x):
    return x / 0.8 * tf.floor(0.5 + tf.random_uniform(tf.shape(x)))


def gaussian_dropout(x):
    return x * tf.random_normal(tf.shape(x), 1.0, 0.5)


def block_dropout(x):
    mask = tf.nn.max_pool(tf.floor(0.5 + tf.random_uniform(tf.shape(x))), [1, 2, 2, 1], [1, 1, 1, 1], "SAME")
    return x * mask / 0.5


def random_crop(x):
    return tf.random_crop(x, [1, 2, 2, 3])


def sampling(x):
    return tf.cast(tf.multinomial(x[:, 0, 0], 1), tf.float32)


@pytest.mark.parametrize(
    "build", [noise, unscaled_dropout, wrongly_scaled, gaussian_dropout, block_dropout, random_crop, sampling]
)
def test_other_randomness_is_refused(build):
    """It is no dropout, and nobody says what its inference is."""
    refused(build, r"random|Multinomial", code="random-op", wrong=RANDOM)


def standardised(x):
    return x / tf.sqrt(tf.reduce_mean(tf.square(x), [0, 1, 2]))


@pytest.mark.parametrize("build", [standardised, centred])
def test_other_statistics_of_the_batch_are_refused(build):
    """An answer would depend on what else is in the batch."""
    refused(build, "^Mean", code="batch-statistics", wrong=BATCH)


def test_a_placeholder_that_nobody_feeds_is_refused():
    """The user forgot an input."""
    refused(
        lambda x: x * tf.placeholder(tf.float32, [None, 1, 1, 3], name="other"),
        "^other ",
        code="unfed-placeholder",
        wrong=FAILS,
    )


@pytest.mark.parametrize("factor", [0.0, np.inf])
def test_a_sum_that_is_divided_by_no_count(factor):
    """Nor by the inverse of one: it is no mean, and no reason to stop."""
    built = Built(lambda x: x + factor * tf.reduce_sum(x))
    assert built.inference().edits == ()
