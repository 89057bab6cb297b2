"""Functions of TensorFlow 2 graphs are inlined, so that training mode inside of them is found."""

from __future__ import annotations

import numpy as np
import pytest

from ckpt2saved.graph.graph import Graph
from ckpt2saved.graph.inlining import inline_functions
from ckpt2saved.graph.tf1 import Defun, tf, v1_control_flow
from tests.support.batch_norms import is_train, needs_case, norm_variables, stock
from tests.support.networks import Built, answer, check


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


def test_a_loop_of_a_function_that_is_called_twice():
    """Loops of TensorFlow 1: their frames have names, and their nodes are colocated by names."""

    def powers(x):
        steps = tf.TensorArray(tf.float32, 5).unstack(tf.reshape(x, [5, 1]))
        return tf.while_loop(lambda n, _: n < 5, lambda n, y: (n + 1, y * steps.read(n)), [0, tf.ones([1])])[1]

    with tf.Graph().as_default() as graph, v1_control_flow():
        x = tf.placeholder(tf.float32, [5], name="x")
        calls = [
            tf.raw_ops.PartitionedCall(args=[one], Tout=[tf.float32], f=Defun(tf.float32, func_name="powers")(powers))
            for one in (x, x + 1)
        ]
        tf.concat([call[0] for call in calls], 0, name="y")
    inlined = Graph(graph.as_graph_def())
    assert len(inline_functions(inlined, [("y", 0)], {("x", 0)})) == 2
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(inlined.graph_def(["y"]), name="")
        assert session.run("y:0", {"x:0": [1, 2, 1, 3, 1]}).tolist() == [6, 2 * 3 * 2 * 4 * 2]
