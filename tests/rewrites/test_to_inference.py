"""The list of rewrites to inference as a whole."""

from __future__ import annotations

import time

import numpy as np

from ckpt2saved.graph.tf1 import tf
from tests.support.batch_norms import centred, is_train, noise, norm_variables, old_dropout, stock, update
from tests.support.networks import RANDOM, Built, refused


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
    start = time.process_time()
    made = built.inference()
    assert time.process_time() - start < 20
    assert len(made.edits) == 100 * 2 + 2
