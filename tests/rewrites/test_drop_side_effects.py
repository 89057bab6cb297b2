"""Assignments that run before an answer are left out, where no answer depends on them."""

from __future__ import annotations

from ckpt2saved.graph.tf1 import tf
from tests.support.networks import RANDOM, refused


def test_an_answer_that_is_assigned_is_refused():
    """A counter, say."""

    def train(x):
        counter = tf.get_variable("counter", [], initializer=tf.zeros_initializer())
        return x + tf.assign_add(counter, 1.0)

    refused(train, r"AssignAdd.*an output is the value that it assigns to counter", wrong=RANDOM)


def test_a_state_that_changes_with_each_answer_is_refused():
    """The assignment is only waited for, and the answer depends on it all the same."""

    def train(x):
        state = tf.get_variable("state", [], initializer=tf.zeros_initializer(), use_resource=True)
        with tf.control_dependencies([tf.assign_add(state, 1.0)]):
            return x * state.read_value()

    refused(train, r"it changes state, on which answers depend", wrong=RANDOM)
