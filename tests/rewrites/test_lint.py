"""Graphs that TF Serving could load, and should not serve, are refused with the node and the reason."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from ckpt2saved.errors import NotServable
from ckpt2saved.errors.problem import texts
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.rewrites.lint import check_servable
from ckpt2saved.sources.networks import build_network
from tests.support.checkpoints import crnn_shapes, ctpn_shapes


def python_call(x):
    return tf.py_func(lambda value: value, [x], tf.float32, name="call")


def dropout(x):
    return tf.nn.dropout(x, rate=0.5, name="dropout")


def queue(x):
    return tf.FIFOQueue(1, tf.float32, name="queue").dequeue(name="taken")


def iterator(x):
    return tf.data.make_one_shot_iterator(tf.data.Dataset.from_tensors([1.0])).get_next(name="next")


def file_name(x):
    return tf.read_file("picture.png", name="read")


def gpu_only(x):
    return tf.raw_ops.CudnnRNN(input=x[0], input_h=x[0], input_c=x[0], params=tf.ones([9]), name="rnn")


def from_a_stage(x):
    return tf.raw_ops.Unstage(dtypes=[tf.float32], name="unstaged")


def sampled(x):
    return tf.random.uniform_candidate_sampler(tf.cast(x[:, 0, 0, :1], tf.int64), 1, 4, True, 999, name="sampler")


def cropped(x):
    return tf.image.sample_distorted_bounding_box(
        [999, 999, 3], [[[0.0, 0.0, 1.0, 1.0]]], min_object_covered=0.1, name="crop"
    )


def random_in_a_function(x):
    from tensorflow.python.framework.function import Defun

    @Defun(tf.float32, func_name="noisy")
    def noisy(value):
        return value + tf.random_uniform([], name="noise")

    return noisy(x)


def training_batch_norm(x):
    ones = tf.ones([3])
    return tf.nn.fused_batch_norm(x, ones, ones, is_training=True, name="norm")[0]


RANDOM, BATCH = "other answers each time", "the rest of the batch"


@pytest.mark.parametrize(
    "build, node, reason, served",
    [
        (python_call, "call (PyFunc)", "it calls Python, which a server does not have", tf.errors.OpError),
        (dropout, "dropout/random_uniform/RandomUniform (RandomUniform)", "it draws random numbers (dropout?)", RANDOM),
        (queue, "taken (QueueDequeueV2)", "it reads from an input pipeline", tf.errors.DeadlineExceededError),
        (iterator, "next (IteratorGetNext)", "it reads from an input pipeline", tf.errors.OutOfRangeError),
        (file_name, "read (ReadFile)", "it opens a file by its name", tf.errors.NotFoundError),
        (from_a_stage, "unstaged (Unstage)", "it reads from an input pipeline", None),  # waits for ever
        (sampled, "sampler (UniformCandidateSampler)", "it draws random numbers", RANDOM),
        (cropped, "crop", "it draws random numbers", RANDOM),
        (
            random_in_a_function,
            "noise/RandomUniform in the function noisy (RandomUniform)",
            "it draws random numbers",
            RANDOM,
        ),
        (gpu_only, "rnn (CudnnRNN)", "it has no CPU kernel", tf.errors.InvalidArgumentError),
        (training_batch_norm, "norm (FusedBatchNorm", "batch norm in training mode", BATCH),
    ],
)
def test_what_cant_be_served_is_refused(build, node, reason, served):
    """The node, its op, why, and what to do; and what a server would have answered without that."""
    with tf.Graph().as_default() as graph, pytest.raises(NotServable) as caught:
        made = build(tf.placeholder(tf.float32, [None, 2, 2, 3], name="x"))
        name = (made[0] if isinstance(made, (list, tuple)) else made).name
        check_servable(graph.as_graph_def())
    assert any(problem.startswith(node) and reason in problem for problem in texts(caught.value.problems)), str(
        caught.value
    )
    assert caught.value.exit_code == 3
    graph_def = graph.as_graph_def()
    del graph, made
    gc.collect()  # with them goes the Python function, which no server has
    if served in (RANDOM, BATCH):
        first, second, alone = answers(graph_def, name)
        differs = first != second if served == RANDOM else abs(first[0] - alone[0]) > 0.01
        assert np.any(differs), "the naive export would do"
    elif served:
        with pytest.raises(served):
            answers(graph_def, name)


def answers(graph_def, name):
    """What a graph as it is answers to a request, to the same again, and to its first item alone."""
    x = np.random.RandomState(0).uniform(0, 1, [4, 2, 2, 3])
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(graph_def, name="")
        soon = tf.RunOptions(timeout_in_ms=300)
        return [session.run(name, {"x:0": asked}, options=soon) for asked in (x, x, x[:1])]


@pytest.mark.parametrize("builder, shapes", [("crnn", crnn_shapes()), ("ctpn", ctpn_shapes())])
def test_the_built_in_graphs_can_be_served(builder, shapes):
    """Nothing in them is refused, batch norm in inference mode least of all."""
    with tf.Graph().as_default() as graph:
        build_network(builder, shapes, {})
        tf.nn.fused_batch_norm(tf.ones([1, 2, 2, 1]), *[tf.ones([1])] * 4, is_training=False)
        check_servable(graph.as_graph_def())
