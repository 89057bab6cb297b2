"""Batch norm on the statistics of a batch is turned into batch norm on the moving averages of the checkpoint."""

from __future__ import annotations

import numpy as np
import pytest

from ckpt2saved.graph.tf1 import tf
from tests.support.batch_norms import fused, inference_norm, norm_variables, update
from tests.support.networks import BATCH, Built, answer, check, refused, variable, would_serve


@pytest.mark.parametrize("resources", [False, True])
def test_fused_batch_norm(resources):
    """Variables are found through the updates, be they of one kind or the other."""
    edit = "bn: batch statistics replaced by bn/moving_mean, bn/moving_variance"
    idle = " (nothing in the graph runs their updates: check that the training did)"
    check(lambda x: fused(x, True), inference_norm, resources=resources, edits=[edit + idle])

    def train(x):
        y = fused(x, True)
        tf.group(*[op for op in y.graph.get_operations() if op.type.startswith("AssignSub")])
        return y

    check(train, inference_norm, resources=resources, edits=[edit])


def moments(x):
    return tf.nn.moments(x, [0, 1, 2])


def mean_of_squares(x):
    mean = tf.reduce_mean(x, [0, 1, 2])
    return mean, tf.reduce_mean(tf.square(x), [0, 1, 2]) - tf.square(mean)


def deviations(x):
    mean = tf.reduce_mean(x, [0, 1, 2])
    return mean, tf.reduce_mean((x - mean) ** 2, [0, 1, 2])


def products(x):
    mean = tf.reduce_mean(x, [0, 1, 2])
    centred = x - mean
    return mean, tf.reduce_mean(centred * centred, [0, 1, 2])


def sufficient_statistics(x):
    """TensorFlow 1.0's tf.nn.moments."""
    shift = tf.stop_gradient(tf.reduce_mean(x, [0, 1, 2], keepdims=True))
    counts, sums, squares, shift = tf.nn.sufficient_statistics(x, [0, 1, 2], shift=shift, keepdims=True)
    mean, variance = tf.nn.normalize_moments(counts, sums, squares, shift)
    return tf.squeeze(mean, [0, 1, 2]), tf.squeeze(variance, [0, 1, 2])


def unshifted_statistics(x):
    counts, sums, squares, _ = tf.nn.sufficient_statistics(x, [0, 1, 2])
    return tf.nn.normalize_moments(counts, sums, squares, None)


def unbiased(x):
    mean, variance = tf.nn.moments(x, [0, 1, 2])
    count = tf.cast(tf.size(x[..., 0]), tf.float32)
    return mean, variance * (count / (count - 1))


@pytest.mark.parametrize(
    "statistics",
    [moments, mean_of_squares, deviations, products, sufficient_statistics, unshifted_statistics, unbiased],
)
@pytest.mark.parametrize("resources", [False, True])
def test_batch_norm_of_any_moments(statistics, resources):
    """However mean and variance are computed, the moving averages take their place."""

    def train(x):
        gamma, beta, mean, variance = norm_variables()
        batch_mean, batch_variance = statistics(x)
        with tf.control_dependencies([update(mean, batch_mean), update(variance, batch_variance)]):
            return tf.nn.batch_normalization(x, batch_mean, batch_variance, beta, gamma, 1e-3)

    check(train, inference_norm, resources=resources)


def blend(moving, batch):
    return tf.assign(moving, moving * 0.95 + batch * (1 - 0.95))


def blend_unknown(moving, batch):
    """The decay grows with the steps, as num_updates makes it."""
    steps = tf.cast(tf.train.get_or_create_global_step(), tf.float32)
    decay = tf.minimum(0.99, (1 + steps) / (10 + steps))
    return tf.assign_sub(moving, (1 - decay) * (moving - batch))


@pytest.mark.parametrize("move", [blend, blend_unknown])
def test_moving_averages_under_any_name(move):
    """The names say nothing; the updates do."""

    def variables():
        return [variable(name) for name in ("scale", "shift", "a", "b_var")]

    def train(x):
        gamma, beta, mean, variance = variables()
        batch_mean, batch_variance = tf.nn.moments(x, [0, 1, 2])
        with tf.control_dependencies([move(mean, batch_mean), move(variance, batch_variance)]):
            batch_mean = tf.identity(batch_mean)
        return tf.nn.batch_normalization(x, batch_mean, batch_variance, beta, gamma, 1e-3)

    def infer(x):
        gamma, beta, mean, variance = variables()
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-3)

    check(train, infer)


@pytest.mark.parametrize("zero_debias", [False, True])
def test_assign_moving_average(zero_debias):
    """TensorFlow's own, which may keep a biased average beside the one that is used."""
    from tensorflow.python.training.moving_averages import assign_moving_average

    def train(x):
        gamma, beta, mean, variance = norm_variables()
        batch_mean, batch_variance = tf.nn.moments(x, [0, 1, 2])
        for moving, batch in ((mean, batch_mean), (variance, batch_variance)):
            assign_moving_average(moving, batch, 0.9, zero_debias=zero_debias)
        return tf.nn.batch_normalization(x, batch_mean, batch_variance, beta, gamma, 1e-3)

    check(train, inference_norm)


@pytest.mark.parametrize("phase", ["cond", "none"])
@pytest.mark.parametrize("v2", [False, True])
def test_exponential_moving_average_of_moments(phase, v2):
    """The hand-written batch norm of many a CRNN: ExponentialMovingAverage over the moments, tf.cond on phase_train."""

    def norm(x, training):
        gamma, beta = variable("gamma"), variable("beta")
        averages = tf.train.ExponentialMovingAverage(decay=0.5)
        batch_mean, batch_variance = tf.nn.moments(x, [0, 1, 2], name="moments")
        apply = averages.apply([batch_mean, batch_variance])

        def updated():
            with tf.control_dependencies([apply]):
                return tf.identity(batch_mean), tf.identity(batch_variance)

        def averaged():
            return averages.average(batch_mean), averages.average(batch_variance)

        if training == "cond":
            mean, variance = tf.cond(tf.placeholder(tf.bool, name="phase_train"), updated, averaged)
        else:
            mean, variance = updated() if training else averaged()
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-3)

    check(
        lambda x: norm(x, "cond" if phase == "cond" else True),
        lambda x: norm(x, False),
        feeds={"phase_train:0": True},
        v2_control_flow=v2 and phase == "cond",
    )


def test_channels_first():
    """Kept axes are kept: the averages are shaped as the statistics were."""

    def norm(x, training):
        gamma, beta, mean, variance = norm_variables()
        x = tf.transpose(x, [0, 3, 1, 2])
        shape = [1, 3, 1, 1]
        if training:
            axes = [0, 2, 3]
            batch_mean = tf.reduce_mean(x, axes, keepdims=True)
            batch_variance = tf.reduce_mean(tf.square(x - batch_mean), axes, keepdims=True)
            update(mean, tf.reshape(batch_mean, [3]))
            update(variance, tf.reshape(batch_variance, [3]))
        else:
            batch_mean, batch_variance = tf.reshape(mean, shape), tf.reshape(variance, shape)
        y = (x - batch_mean) * tf.rsqrt(batch_variance + 1e-3)
        return y * tf.reshape(gamma, shape) + tf.reshape(beta, shape)

    check(lambda x: norm(x, True), lambda x: norm(x, False))


def test_half_precision():
    """Averages are single, values half."""

    def train(x):
        gamma, beta, mean, variance = norm_variables()
        x = tf.cast(x, tf.float16)
        batch_mean, batch_variance = tf.nn.moments(x, [0, 1, 2])
        update(mean, tf.cast(batch_mean, tf.float32)), update(variance, tf.cast(batch_variance, tf.float32))
        gamma, beta = tf.cast(gamma, tf.float16), tf.cast(beta, tf.float16)
        return tf.nn.batch_normalization(x, batch_mean, batch_variance, beta, gamma, 1e-3)

    training, inference = Built(train), Built(inference_norm)
    found = answer(training.inference().graph_def, training.question())
    np.testing.assert_allclose(found, answer(inference.graph_def, training.question()), atol=1e-2)


def test_without_updates_the_variables_beside_gamma_are_taken_and_it_is_said():
    """Nothing else can say which they are."""

    def train(x):
        gamma, beta, _, _ = norm_variables()
        return tf.nn.fused_batch_norm(x, gamma, beta, epsilon=1e-3)[0]

    made = check(train, inference_norm)
    assert "found by name, as the graph has no update of them; they are beside bn/beta and bn/gamma" in str(
        made.edits[0]
    )


def test_a_batch_norm_in_a_loop():
    """Its averages are taken into the loop."""

    def norm(x, training):
        gamma, beta, mean, variance = norm_variables()

        def step(i, y):
            if training:
                batch_mean, batch_variance = tf.nn.moments(y, [0, 1, 2])
            else:
                batch_mean, batch_variance = mean, variance
            return i + 1, tf.nn.batch_normalization(y, batch_mean, batch_variance, beta, gamma, 1e-3)

        return tf.while_loop(lambda i, y: i < 3, step, [0, x])[1]

    check(lambda x: norm(x, True), lambda x: norm(x, False))


@pytest.mark.skipif(not hasattr(tf.raw_ops, "FusedBatchNormV3"), reason="TF 2.4")
def test_a_fused_batch_norm_that_averages_by_itself():
    """Newer Keras hands the averages to the op in training too."""

    def train(x):
        gamma, beta, mean, variance = norm_variables()
        try:
            done = tf.raw_ops.FusedBatchNormV3(
                x=x, scale=gamma, offset=beta, mean=mean, variance=variance, epsilon=1e-3, exponential_avg_factor=0.1
            )
        except TypeError:
            pytest.skip("TF 2.4")
        tf.assign(mean, done.batch_mean), tf.assign(variance, done.batch_variance)
        return done.y

    check(train, inference_norm)


def test_axes_put_in_by_hand():
    """Statistics that are given axes before they are used: after them, and before them."""

    def norm(x, training):
        gamma, beta, mean, variance = norm_variables()
        x = tf.transpose(x, [0, 3, 1, 2])[:, :, 0]  # [batch, channels, 4]
        if training:
            batch_mean, batch_variance = tf.nn.moments(x, [0, 2])
            update(mean, batch_mean), update(variance, batch_variance)
        else:
            batch_mean, batch_variance = mean, variance
        y = (x - tf.expand_dims(batch_mean, 1)) * tf.rsqrt(batch_variance[:, None] + 1e-3)
        return tf.transpose(y, [0, 2, 1]) * gamma + beta

    check(lambda x: norm(x, True), lambda x: norm(x, False))


def test_averages_that_the_checkpoint_lacks_are_refused():
    """A saver of trainable variables only."""
    refused(
        lambda x: fused(x, True),
        r"bn/fused \(FusedBatchNorm.*the checkpoint has no bn/moving_variance: save all variables",
        wrong=BATCH,
        without=["bn/moving_variance"],
    )
    would_serve(lambda x: fused(x, True), inference_norm)


def test_a_batch_norm_without_averages_is_refused():
    """No update, and nothing beside gamma."""

    def train(x):
        return tf.nn.fused_batch_norm(x, variable("gamma"), variable("beta"), name="bn")[0]

    refused(train, r"bn \(FusedBatchNorm.*does not update any moving average of it", wrong=BATCH)


def test_an_update_that_is_no_average_is_refused():
    """The last batch's statistics are not the data's."""

    def train(x):
        gamma, beta, mean, variance = norm_variables()
        y, batch_mean, batch_variance = tf.nn.fused_batch_norm(x, gamma, beta, name="bn/fused")
        tf.assign(mean, batch_mean * 2), tf.assign(variance, batch_variance)
        return y

    refused(
        train, r"bn/fused .*assigns a value computed from it that is not proven to be a moving average", wrong=BATCH
    )


def last_batch(x):
    gamma, beta, mean, variance = norm_variables()
    y, batch_mean, batch_variance = tf.nn.fused_batch_norm(x, gamma, beta, name="bn/fused")
    tf.assign(mean, batch_mean), tf.assign(variance, batch_variance)
    return y


def several_candidates(x):
    gamma, beta, _, _ = norm_variables()
    [variable("bn/" + name) for name in ("pop_mean", "pop_var")]
    return tf.nn.fused_batch_norm(x, gamma, beta, name="bn/fused")[0]


def two_averages(x):
    gamma, beta, mean, variance = norm_variables()
    y, batch_mean, batch_variance = tf.nn.fused_batch_norm(x, gamma, beta, name="bn/fused")
    update(mean, batch_mean), update(variance, batch_variance), update(variable("bn/slow"), batch_mean, 0.999)
    return y


def loop_in_a_loop(x):
    gamma, beta, _, _ = norm_variables()

    def normed(i, y):
        return i + 1, tf.nn.fused_batch_norm(y * 1.5 + 1, gamma, beta, name="bn/fused")[0]

    def step(i, y):
        return i + 1, tf.tanh(tf.while_loop(lambda i, _: i < 2, normed, [0, y])[1])

    return tf.while_loop(lambda i, _: i < 2, step, [0, x])[1]


@pytest.mark.parametrize(
    "build, message",
    [
        (last_batch, "assigns a value computed from it that is not proven to be a moving average"),
        (several_candidates, "several are possible: bn/moving_mean, bn/moving_variance and bn/pop_mean, bn/pop_var"),
        (
            two_averages,
            "the moving averages of its mean are bn/moving_mean, bn/slow, of its variance bn/moving_variance",
        ),
        (loop_in_a_loop, "it is inside a nested loop"),
    ],
)
def test_averages_that_are_not_sure_are_refused(build, message):
    """Of the last batch, two of a kind, or where no average can be put."""
    refused(build, "batch norm uses batch statistics.*" + message, wrong=BATCH)
    would_serve(build, inference_norm)


def test_a_batch_norm_in_an_undecided_branch_is_refused():
    """What a request decides stays undecided; there is no place for an average that is not always computed."""

    def train(x):
        norm_variables()
        with tf.variable_scope("", reuse=True):
            gamma, beta, mean, variance = norm_variables()

        def normed():
            batch_mean, batch_variance = tf.nn.moments(x, [0, 1, 2])
            update(mean, batch_mean), update(variance, batch_variance)
            return tf.nn.batch_normalization(x, batch_mean, batch_variance, beta, gamma, 1e-3)

        return tf.cond(tf.reduce_sum(x) > 0, normed, lambda: x * 2)

    refused(train, "it is inside an undecided condition", wrong=BATCH)
