"""Dropout is bypassed in whatever form it is written."""

from __future__ import annotations

import pytest

from ckpt2saved.graph.tf1 import tf
from tests.support.batch_norms import is_train, old_dropout, plain, stock
from tests.support.networks import check


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


def test_a_keep_prob_that_a_switch_makes():
    """It goes away with the dropout."""

    def train(x):
        keep = tf.cond(is_train(), lambda: 0.5, lambda: 1.0)
        return stock(tf.tanh(x), keep)

    check(train, plain, feeds={"is_train:0": True})
