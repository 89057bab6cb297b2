"""A training's graph, edited into its inference, answers as the same network built for inference does."""

from __future__ import annotations

import time

import numpy as np
import pytest

from ckpt2saved.tf1 import tf
from tests.support.networks import (
    BATCH,
    FAILS,
    RANDOM,
    Built,
    answer,
    check,
    graph_names,
    refused,
    variable,
    would_serve,
)

# Batch norm by hand, in several hands.


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


@pytest.mark.parametrize("resources", [False, True])
def test_fused_batch_norm(resources):
    """Variables are found through the updates, be they of one kind or the other."""
    edit = "bn: batch statistics replaced by bn/moving_mean, bn/moving_variance"
    idle = " (nothing in the graph runs their updates: make sure that the training did)"
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
    assert "no update in the graph says so; they are beside bn/beta and bn/gamma" in str(made.edits[0])


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


# Dropout.


def plain(x):
    return tf.tanh(x)


def old_dropout(x, keep, noise_shape=None):
    """tf.nn.dropout of TensorFlow 1.0 to 1.12."""
    shape = tf.shape(x) if noise_shape is None else noise_shape
    mask = tf.floor(keep + tf.random_uniform(shape))
    return (x / keep) * mask


def middle_dropout(x, keep):
    """That of 1.13 to 2.x."""
    rate = 1 - keep
    return x * (1 / (1 - rate)) * tf.cast(tf.random_uniform(tf.shape(x)) >= rate, tf.float32)


def select_dropout(x, keep):
    """That of today."""
    mask = tf.random_uniform(tf.shape(x)) >= 1 - keep
    return tf.where(mask, x * (1 / keep), tf.zeros_like(x))


def late_scaling(x, keep):
    return x * tf.cast(tf.random_uniform(tf.shape(x), 0, 2) < 2 * keep, tf.float32) / keep


def scaled_mask(x, keep):
    return x * (tf.floor(tf.random_uniform(tf.shape(x)) + keep) / keep)


def stock(x, keep):
    return tf.nn.dropout(x, rate=1 - keep)


def stock_noise_shape(x, keep):
    return tf.nn.dropout(x, rate=1 - keep, noise_shape=[tf.shape(x)[0], 1, 1, 3])


def stateless(x, keep):
    if not hasattr(tf.random, "stateless_uniform"):
        pytest.skip("newer")
    mask = tf.random.stateless_uniform(tf.shape(x), [1, 2]) >= 1 - keep
    return x / keep * tf.cast(mask, tf.float32)


FORMS = [old_dropout, middle_dropout, select_dropout, late_scaling, scaled_mask, stock, stock_noise_shape, stateless]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("keep", ["constant", "placeholder", "default"])
def test_dropout_in_every_form(form, keep):
    """With a constant keep_prob, or one that is fed."""

    def train(x):
        if keep == "constant":
            probability = 0.5
        elif keep == "placeholder":
            probability = tf.placeholder(tf.float32, name="keep_prob")
        else:
            probability = tf.placeholder_with_default(0.5, [], name="keep_prob")
        with tf.name_scope("drop"):
            return form(tf.tanh(x), probability)

    made = check(train, plain, feeds={"keep_prob:0": 0.5})
    assert str(made.edits[0]).startswith("drop") and str(made.edits[0]).endswith(": bypassed")
    assert not [node.name for node in made.graph_def.node if "Random" in node.op or "keep" in node.name]


def test_one_dropout_after_the_other():
    """The second drops from what is random already."""
    check(lambda x: tf.nn.dropout(tf.sin(stock(tf.tanh(x), 0.5)), rate=0.3), lambda x: tf.sin(tf.tanh(x)))


def test_one_mask_for_many_steps():
    """Variational dropout of an unrolled network."""

    def network(x, training):
        noise = tf.random_uniform([3])
        for _ in range(60):
            x = tf.tanh(x * 1.2)
            x = x / 0.5 * tf.floor(0.5 + noise) if training else x
        return x

    assert len(check(lambda x: network(x, True), lambda x: network(x, False)).edits) == 60


def test_dropped_weights():
    """DropConnect is dropout too."""

    def norm(x, training):
        weight = tf.get_variable("weight", [3, 3])
        return tf.tensordot(x, stock(weight, 0.5) if training else weight, 1)

    check(lambda x: norm(x, True), lambda x: norm(x, False))


@pytest.mark.parametrize("v2", [False, True])
@pytest.mark.parametrize("keep", ["constant", "placeholder"])
def test_dropout_in_a_loop(v2, keep):
    """Dropped in each step, or by a mask made once before, or with a probability from outside."""

    def network(x, training):
        probability = tf.placeholder(tf.float32, [], name="keep_prob") if keep == "placeholder" else 0.5
        noise = tf.random_uniform([3])

        def step(i, y):
            if training:
                y = stock(y, probability)
                y = y / probability * tf.floor(probability + noise)
            return i + 1, tf.tanh(y * 1.5)

        return tf.while_loop(lambda i, y: i < 3, step, [0, x])[1]

    check(lambda x: network(x, True), lambda x: network(x, False), feeds={"keep_prob:0": 0.5}, v2_control_flow=v2)


# Switches.


def switched(x, predicate):
    """Dropout and batch norm in one branch, their inference in the other."""
    x = tf.cond(predicate, lambda: fused(x, True), lambda: inference_norm_again(x))
    return tf.cond(predicate, lambda: stock(x, 0.5), lambda: tf.identity(x))


def inference_norm_again(x):
    with tf.variable_scope("", reuse=True):
        gamma, beta, mean, variance = norm_variables()
    return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-3)


def norms_first(build):
    def train(x):
        norm_variables()
        with tf.variable_scope("", reuse=True):
            return build(x)

    return train


def is_train():
    return tf.placeholder(tf.bool, [], name="is_train")


PREDICATES = {
    "placeholder": (is_train, "is_train: pinned to False"),
    "unnamed": (lambda: tf.placeholder(tf.bool), "Placeholder: pinned to False"),
    "negated": (
        lambda: tf.logical_not(tf.placeholder(tf.bool, [], name="testing")),
        "testing: pinned to True",
    ),
    "default": (lambda: tf.placeholder_with_default(True, [], name="phase"), "phase: pinned to False"),
    "both": (
        lambda: tf.logical_and(is_train(), tf.constant(True)),
        "is_train: pinned to False",
    ),
    "mode": (lambda: tf.equal(tf.placeholder(tf.int32, [], name="mode"), 0), "mode: pinned to -1"),
    "number": (
        lambda: tf.placeholder(tf.float32, [], name="mode") > 0.5,
        "mode: pinned to 0.0",
    ),
    "cast": (lambda: tf.cast(tf.placeholder(tf.int32, [], name="mode"), tf.bool), "mode: pinned to 0"),
    "text": (
        lambda: tf.equal(tf.placeholder(tf.string, [], name="mode"), "train"),
        "mode: pinned to another",
    ),
    "variable": (
        lambda: tf.Variable(False, trainable=False, name="is_training"),
        "is_training: pinned to False",
    ),
}


@pytest.mark.parametrize("v2", [False, True])
@pytest.mark.parametrize("resources", [False, True])
@pytest.mark.parametrize("kind", sorted(PREDICATES))
def test_switches_are_decided_by_what_is_in_the_branches(kind, resources, v2):
    """Bool, int, float and text; placeholders, defaults and variables; in both kinds of tf.cond."""
    if v2 and not resources:
        pytest.skip("functions take no reference variables")
    predicate, edit = PREDICATES[kind]
    if kind == "variable":
        with_variable = lambda x: switched(
            x, tf.get_variable("is_training", [], tf.bool, tf.zeros_initializer(), trainable=False)
        )
        predicate, train = None, norms_first_outside(with_variable)
    else:
        train = norms_first(lambda x: switched(x, predicate()))
    feeds = {
        "is_train:0": True,
        "Placeholder:0": True,
        "testing:0": False,
        "mode:0": {"mode": 0, "number": 1.0, "cast": 1, "text": "train"}.get(kind),
    }
    made = check(train, inference_norm, feeds=feeds, resources=resources, v2_control_flow=v2)
    assert [str(e) for e in made.edits if e.kind == "switch"] == [edit]
    assert not [node.op for node in made.graph_def.node if node.op in ("Switch", "If", "StatelessIf")]


def norms_first_outside(build):
    def train(x):
        norm_variables()
        return build_reusing(build, x)

    return train


def build_reusing(build, x):
    variable_scope = tf.variable_scope("", reuse=tf.AUTO_REUSE)
    with variable_scope:
        return build(x)


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
    refused(standardized, "batch norm on the statistics of the batch", wrong=BATCH, sizes=sizes)


needs_case = pytest.mark.skipif(not hasattr(tf.raw_ops, "StatelessCase"), reason="TensorFlow 1.14 has no Case")


@needs_case
def test_a_number_that_chooses_a_branch_is_a_switch():
    """0 trains, with batch norm and dropout; 1 answers, and so does every number beyond."""

    def train(x):
        mode = tf.placeholder_with_default(0, [], name="mode")
        gamma, beta, mean, variance = norm_variables()

        def training():
            axes = [0, 1, 2]
            found = tf.nn.moments(x, axes)
            updates = [tf.assign_sub(v, (v - new) * 0.1) for v, new in zip((mean, variance), found)]
            with tf.control_dependencies(updates):
                return stock(tf.nn.batch_normalization(x, *found, beta, gamma, 1e-3), 0.5)

        def answering():
            return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-3)

        return tf.switch_case(mode, {0: training, 1: answering, 2: lambda: tf.identity(answering())})

    made = check(train, inference_norm, pinned={"mode": 1}, resources=True, v2_control_flow=True)
    assert not [node.op for node in made.graph_def.node if node.op in ("Switch", "Case", "StatelessCase")]


@needs_case
@pytest.mark.parametrize("number", [-1, 0, 1, 2, 7])
def test_a_case_that_stays_answers_as_before(number):
    """Laid out as switches and one merge: the last branch is for every number that has none of its own."""

    def build(x):
        index = tf.cast(tf.reduce_sum(x * 0), tf.int32) + number
        x = tf.nn.dropout(x, 0.5)
        return tf.switch_case(
            index,
            {
                0: lambda: x + 1,
                1: lambda: x * 2,
                2: lambda: tf.while_loop(
                    lambda n, _: n < 3, lambda n, y: (n + 1, tf.switch_case(n, [lambda: y - 1, lambda: y * x])), [0, x]
                )[1],
            },
        )

    built = Built(build, v2_control_flow=True)
    question = built.question()
    made = built.inference()
    assert "StatelessCase" not in {node.op for node in made.graph_def.node}
    branches = [question + 1, question * 2, (question - 1) * question * question]
    wanted = branches[number] if number in (0, 1, 2) else branches[2]
    np.testing.assert_allclose(answer(made.graph_def, question), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not hasattr(tf, "where_v2"), reason="newer")
def test_a_select_is_a_switch_too():
    """tf.where on a scalar."""
    check(lambda x: tf.where_v2(is_train(), stock(tf.tanh(x), 0.5), tf.tanh(x)), plain, feeds={"is_train:0": True})


def test_noise_in_the_training_branch():
    """Whatever is random there: it goes with the branch."""

    def train(x):
        return tf.cond(is_train(), lambda: x + tf.random_normal(tf.shape(x)), lambda: tf.tanh(x))

    check(train, plain, feeds={"is_train:0": True})


@pytest.mark.parametrize("resources", [False, True])
def test_noise_times_zero(resources):
    """Noise that the switch turns off is nothing."""

    def train(x):
        phase = is_train()
        x = tf.tanh(x)
        x = tf.cond(phase, lambda: stock(x, 0.5), lambda: tf.identity(x))
        return x + tf.random_normal(tf.shape(x)) * tf.cast(phase, tf.float32)

    check(train, plain, feeds={"is_train:0": True}, resources=resources)


def test_a_keep_prob_that_a_switch_makes():
    """It goes away with the dropout."""

    def train(x):
        keep = tf.cond(is_train(), lambda: 0.5, lambda: 1.0)
        return stock(tf.tanh(x), keep)

    check(train, plain, feeds={"is_train:0": True})


def test_a_cond_in_a_loop():
    """The switch is decided outside, and what it decides about is inside."""

    def network(x, training):
        phase = is_train()

        def step(i, y):
            y = tf.cond(phase, lambda: stock(y, 0.5), lambda: y * 1.0) if training else y
            return i + 1, tf.tanh(y * 1.5)

        return tf.while_loop(lambda i, y: i < 3, step, [0, x])[1]

    for v2 in (False, True):
        check(lambda x: network(x, True), lambda x: network(x, False), feeds={"is_train:0": True}, v2_control_flow=v2)


def test_switches_inside_of_functions():
    """Calls, conditions and loops of functions in functions, with variables from outside, as TensorFlow 2 writes them."""

    def network(x, training):
        gamma, beta, mean, variance = norm_variables()
        phase = is_train() if training else False

        @tf.function
        def block(y, phase):
            if not training:
                return tf.nn.batch_normalization(tf.tanh(y), mean, variance, beta, gamma, 1e-3)
            y = tf.cond(phase, lambda: stock(tf.tanh(y), 0.5), lambda: tf.tanh(y))

            def moving():
                return mean.read_value(), variance.read_value()

            def of_batch():
                batch_mean, batch_variance = tf.nn.moments(y, [0, 1, 2])
                mean.assign_sub((mean - batch_mean) * 0.1)
                variance.assign_sub((variance - batch_variance) * 0.1)
                return batch_mean, batch_variance

            used = tf.cond(phase, of_batch, moving)
            return tf.nn.batch_normalization(y, used[0], used[1], beta, gamma, 1e-3)

        @tf.function
        def twice(y, phase):
            y = block(y, phase)
            return tf.while_loop(lambda i, y: i < 2, lambda i, y: (i + 1, block(y, phase)), [0, y])[1]

        return twice(x, tf.convert_to_tensor(phase)) * 2

    made = check(
        lambda x: network(x, True),
        lambda x: network(x, False),
        feeds={"is_train:0": True},
        resources=True,
        v2_control_flow=True,
    )
    assert [str(edit) for edit in made.edits] == ["is_train: pinned to False"]


def test_batch_norm_inside_of_functions():
    """Without a switch: the updates are in the function too."""

    def network(x, training):
        gamma, beta, mean, variance = norm_variables()

        @tf.function
        def block(y):
            used = mean, variance
            if training:
                used = tf.nn.moments(y, [0, 1, 2])
                mean.assign_sub((mean - used[0]) * 0.1)
                variance.assign_sub((variance - used[1]) * 0.1)
                y = stock(y, 0.5)
            return tf.nn.batch_normalization(y, used[0], used[1], beta, gamma, 1e-3)

        return block(x) + 1

    check(lambda x: network(x, True), lambda x: network(x, False), resources=True, v2_control_flow=True)


# What is left alone.


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
        "batch norm on the statistics of the batch",
        wrong=FAILS if tf.__version__.startswith("1.") else BATCH,  # no kernel of this layout on the CPU
        sizes=[None, 3, 4, 5],
    )


# What is refused.


def test_a_switch_without_evidence_is_refused_with_its_choices():
    """Both branches could be either."""

    def train(x):
        return tf.cond(is_train(), lambda: x * 2, lambda: x * 3)

    message = r"is_train \(Placeholder\): .*--set is_train=False or --set is_train=True"
    refused(train, message, wrong=FAILS)
    would_serve(train, lambda x: x * 3, feeds={"is_train:0": True})
    would_serve(train, lambda x: x * 2, feeds={"is_train:0": False})
    for value in (False, True):
        built = Built(train)
        made = built.inference({"is_train:0": value})
        assert [str(edit) for edit in made.edits] == [f"is_train: pinned to {value} (as asked for)"]
        np.testing.assert_allclose(answer(made.graph_def, built.question()), built.question() * (2 if value else 3))


def test_a_name_that_contradicts_the_branches_is_refused():
    """Somebody has mixed them up; who knows who."""

    def train(x):
        return tf.cond(is_train(), lambda: tf.identity(x), lambda: stock(x, 0.5))

    refused(train, r"is_train .*its name says that True is training, and its branches say that False is", wrong=FAILS)
    would_serve(train, RANDOM, feeds={"is_train:0": False})


def test_two_trainings_in_one_switch_are_refused():
    """Something random in each branch."""

    def train(x):
        return tf.cond(is_train(), lambda: stock(x, 0.5), lambda: x + tf.random_normal(tf.shape(x)))

    refused(train, r"True has .*dropout.* in its branches and False has .*random_normal", wrong=FAILS)
    for value in (True, False):
        would_serve(train, RANDOM, feeds={"is_train:0": value})


def test_three_modes_are_refused():
    """Two of them avoid training, and answer differently."""

    def train(x):
        mode = tf.placeholder(tf.int32, [], name="mode")
        x = tf.cond(tf.equal(mode, 0), lambda: stock(x, 0.5), lambda: tf.identity(x))
        return tf.cond(tf.equal(mode, 1), lambda: x * 2, lambda: x * 3)

    refused(train, r"mode .*all avoid training, and lead to different answers; choose: --set mode=VALUE", wrong=FAILS)
    would_serve(train, RANDOM, feeds={"mode:0": 0})
    would_serve(train, lambda x: x * 3, feeds={"mode:0": 1})


def test_a_number_that_is_computed_with_is_refused():
    """1 and 0.9 lead to the same branch, and not to the same answer."""

    def train(x):
        keep = tf.placeholder(tf.float32, [], name="keep_prob")
        x = tf.cond(keep < 0.8, lambda: stock(tf.tanh(x), 0.5), lambda: tf.tanh(x))
        return x * keep

    refused(
        train,
        r"keep_prob .*answers are computed with it, besides what it decides about; choose: --set keep_prob=",
        wrong=FAILS,
    )
    would_serve(train, RANDOM, feeds={"keep_prob:0": 0.5})
    would_serve(train, plain, feeds={"keep_prob:0": 0.9})
    built = Built(train)
    made = built.inference({"keep_prob": 1.0})
    np.testing.assert_allclose(answer(made.graph_def, built.question()), np.tanh(built.question()), rtol=1e-5)


def noise(x):
    return x + 0.1 * tf.random_normal(tf.shape(x))


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
    refused(build, r"random\w*.*: random numbers that are no dropout|Multinomial\): random numbers", wrong=RANDOM)


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

    refused(train, r"bn/fused .*assigns something made from it that is no moving average", wrong=BATCH)


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
        (last_batch, "assigns something made from it that is no moving average"),
        (several_candidates, "several could: bn/moving_mean, bn/moving_variance and bn/pop_mean, bn/pop_var"),
        (
            two_averages,
            "the moving averages of its mean are bn/moving_mean, bn/slow, of its variance bn/moving_variance",
        ),
        (loop_in_a_loop, "it is inside of a loop in a loop"),
    ],
)
def test_averages_that_are_not_sure_are_refused(build, message):
    """Of the last batch, two of a kind, or where no average can be put."""
    refused(build, "batch norm on the statistics of the batch.*" + message, wrong=BATCH)
    would_serve(build, inference_norm)


def test_an_input_that_is_set_is_refused():
    """A request's value would be thrown away."""

    def train(x):
        return x * tf.placeholder(tf.float32, [], name="scale")

    refused(train, "--set scale: scale is an input too", wrong=FAILS, pinned={"scale": 2.0}, inputs=["x:0", "scale:0"])


def standardised(x):
    return x / tf.sqrt(tf.reduce_mean(tf.square(x), [0, 1, 2]))


def centred(x):
    return x - tf.reduce_mean(x, 0)


@pytest.mark.parametrize("build", [standardised, centred])
def test_other_statistics_of_the_batch_are_refused(build):
    """An answer would depend on what else is in the batch."""
    refused(build, r"Mean.*it looks like a statistic of the batch", wrong=BATCH)


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

    refused(train, "it is inside of a condition that is not decided", wrong=BATCH)


def test_variables_are_initialized_when_they_are_served():
    """What a graph computes where they are not may be random."""

    def train(x):
        weight = tf.get_variable("weight", [3], initializer=tf.random_normal_initializer(), use_resource=True)
        ready = tf.is_variable_initialized(weight)
        return x * tf.cond(ready, lambda: weight.read_value(), lambda: tf.random_normal([3]))

    made = Built(train).inference()
    assert not [node.name for node in made.graph_def.node if "Random" in node.op]


def test_an_answer_that_is_assigned_is_refused():
    """A counter, say."""

    def train(x):
        counter = tf.get_variable("counter", [], initializer=tf.zeros_initializer())
        return x + tf.assign_add(counter, 1.0)

    refused(train, r"AssignAdd.*the answer is what it assigns to counter", wrong=RANDOM)


def test_a_state_that_changes_with_each_answer_is_refused():
    """The assignment is only waited for, and the answer depends on it all the same."""

    def train(x):
        state = tf.get_variable("state", [], initializer=tf.zeros_initializer(), use_resource=True)
        with tf.control_dependencies([tf.assign_add(state, 1.0)]):
            return x * state.read_value()

    refused(train, r"it changes state before each answer", wrong=RANDOM)


def test_a_placeholder_that_nobody_feeds_is_refused():
    """The user forgot an input."""
    refused(
        lambda x: x * tf.placeholder(tf.float32, [None, 1, 1, 3], name="other"),
        r"other \(Placeholder\): nothing feeds it",
        wrong=FAILS,
    )


@pytest.mark.parametrize(
    "pinned, message",
    [
        ({"is_trian": False}, r"--set is_trian: the graph has no node 'is_trian'; did you mean is_train\?"),
        ({"x": 1.0}, "--set x: x is a Placeholder; expected"),
        ({"is_train": "no"}, "--set is_train: 'no' is no bool"),
    ],
)
def test_pins_that_do_not_fit_are_refused(pinned, message):
    """A typing error must not leave the switch to chance."""
    refused(lambda x: tf.cond(is_train(), lambda: x * 2, lambda: x * 3), message, wrong=FAILS, pinned=pinned)


def test_all_problems_at_once():
    """One run tells everything."""

    def train(x):
        return noise(tf.cond(is_train(), lambda: centred(x), lambda: centred(x)))

    problems = refused(train, "", wrong=RANDOM, feeds={"is_train:0": True})
    assert len(problems) >= 3


def test_inputs_are_cut_at_any_tensor():
    """What is behind an input is not looked at: a queue, augmentation, other switches."""

    def build(x):
        queue = tf.FIFOQueue(2, tf.float32, [5, 4, 3])
        images = tf.identity(noise(queue.dequeue_many(2)), name="images")
        return tf.nn.dropout(tf.tanh(images), rate=0.5)

    built = Built(build)
    made = built.inference(inputs=["images:0"])
    question = built.question()
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(made.graph_def, name="")
        np.testing.assert_allclose(session.run("y:0", {"images:0": question}), np.tanh(question), rtol=1e-5)


def test_checks_that_need_what_nobody_feeds_are_dropped():
    """An assertion about labels says nothing about an answer."""

    def train(x):
        labels = tf.placeholder(tf.int32, [None], name="labels")
        with tf.control_dependencies([tf.debugging.assert_non_negative(labels)]):
            return tf.tanh(x)

    built = Built(train)
    made = built.inference()
    assert "labels" not in graph_names(made.graph_def)
    assert [edit.kind for edit in made.edits] == ["side effect"]


def test_an_input_pipeline_that_is_only_waited_for_is_dropped():
    """A padding queue hands out images after labels; the request brings the images."""

    def train(x):
        queue = tf.queue.FIFOQueue(9, [tf.float32, tf.int32], [[5, 4, 3], []], name="queue")
        images, labels = queue.dequeue_many(4, name="batch")
        with tf.control_dependencies([tf.negative(labels, name="restored")]):
            return tf.tanh(tf.identity(images, name="after")) + x

    made = Built(train).inference(inputs=["batch:0", "x:0"])
    names = graph_names(made.graph_def)
    assert [str(edit) for edit in made.edits] == ["after: no longer runs restored first"]
    assert "after" in names and "restored" not in names


@pytest.mark.parametrize("factor", [0.0, np.inf])
def test_a_sum_that_is_divided_by_no_count(factor):
    """Nor by the inverse of one: it is no mean, and no reason to stop."""
    built = Built(lambda x: x + factor * tf.reduce_sum(x))
    assert built.inference().edits == ()


@pytest.mark.parametrize("loss", ["sparse", "dense", "ctc"])
def test_an_answer_made_of_labels_is_refused(loss):
    """Teacher forcing: each step reads the label before, which stands in the graph only until the training feeds it."""

    def train(x):
        labels = tf.tile([[1, 2]], [tf.shape(x)[0], 1], name="labels")
        logits = tf.reduce_sum(x, [1, 2]) + tf.gather(variable("embedding"), labels[:, :1])
        if loss == "sparse":
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels[:, 1], logits=logits)
        elif loss == "dense":
            tf.nn.softmax_cross_entropy_with_logits_v2(labels=tf.one_hot(labels[:, 1], 3), logits=logits)
        else:
            values = tf.reshape(labels, [-1])
            where = tf.where(tf.ones_like(labels, tf.bool))
            sparse = tf.SparseTensor(where, values, tf.shape(labels, out_type=tf.int64))
            tf.nn.ctc_loss(sparse, tf.expand_dims(logits, 0), tf.fill([tf.shape(x)[0]], 1))
        return logits

    def infer(x):
        """What stands before the first symbol is known to be symbol 0."""
        return tf.reduce_sum(x, [1, 2]) + tf.gather(variable("embedding"), [0])

    refused(train, "made of|teacher forcing", wrong=infer)


def test_labels_that_no_answer_is_made_of_are_nobodys_business():
    """Nor are those that a request brings, as where pictures are to be drawn again."""

    def train(x):
        tf.nn.softmax_cross_entropy_with_logits_v2(labels=x, logits=tf.tanh(x))
        return tf.tanh(x)

    assert Built(train).inference().edits == ()


def test_big_graphs_take_seconds():
    """A hundred layers with all that training has."""

    def train(x):
        phase, keep = is_train(), tf.placeholder(tf.float32, name="keep_prob")
        gamma, beta, mean, variance = norm_variables()
        for _ in range(100):
            batch_mean, batch_variance = tf.nn.moments(x, [0, 1, 2])
            update(mean, batch_mean), update(variance, batch_variance)
            x = tf.nn.batch_normalization(x, batch_mean, batch_variance, beta, gamma, 1e-3)
            x = old_dropout(tf.cond(phase, lambda y=x: stock(y, 0.5), lambda y=x: tf.identity(y)) + x, keep)
        return x

    built = Built(train)
    assert len(built.graph_def.node) > 4000
    start = time.time()
    made = built.inference()
    assert time.time() - start < 20
    assert len(made.edits) == 100 * 2 + 2
