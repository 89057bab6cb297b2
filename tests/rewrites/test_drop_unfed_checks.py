"""Checks that need what no request brings no longer run before an answer."""

from __future__ import annotations

from ckpt2saved.graph.tf1 import tf
from tests.support.networks import Built, graph_names


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
    assert [str(edit) for edit in made.edits] == ["after: no longer waits for restored"]
    assert "after" in names and "restored" not in names
