"""Answers that are computed from labels are refused."""

from __future__ import annotations

import pytest

from ckpt2saved.graph.tf1 import tf
from tests.support.networks import Built, refused, variable


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
