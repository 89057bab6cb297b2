"""inspect sees what is behind the functional loops and calls of a TensorFlow 2 training, whose gradients feed them lists."""

from __future__ import annotations

import contextlib
import json
import shlex

import pytest

pytest.importorskip("tensorflow")

import tensorflow

from ckpt2saved.graph.tf1 import tf
from tests.support.trainings import save

pytestmark = pytest.mark.skipif(
    not hasattr(tf, "enable_control_flow_v2"), reason="this TensorFlow has no functional loops in graphs"
)


@contextlib.contextmanager
def functional_control_flow():
    """Loops and conditions made inside are While and If nodes."""
    enabled = tf.control_flow_v2_enabled()
    tf.enable_control_flow_v2()
    try:
        yield
    finally:
        if not enabled:
            tf.disable_control_flow_v2()


def variable(name, *shape):
    return tf.get_variable(name, shape, initializer=tf.zeros_initializer(), use_resource=True)


def rnn(sequence, steps=None, kernel=None):
    """A plain recurrent layer over [time, batch, 8], of open length."""
    kernel = variable("cell", 24, 16) if kernel is None else kernel
    size = tf.shape(sequence)[0]
    steps = size if steps is None else steps
    read = tf.TensorArray(tf.float32, size=size).unstack(sequence)

    def step(number, state, written):
        state = tf.tanh(tf.matmul(tf.concat([read.read(number), state], 1), kernel))
        return number + 1, state, written.write(number, state)

    start = (0, tf.zeros(tf.stack([tf.shape(sequence)[1], 16])), tf.TensorArray(tf.float32, size=size))
    loop = tf.while_loop(lambda number, *_: number < steps, step, start, maximum_iterations=steps)
    return loop[2].stack()


def plain(sequence, lengths):
    """As long as the picture is wide."""
    return rnn(sequence)


def mapped(sequence, lengths):
    """A layer on each step; steps are the batch of map_fn."""
    kernel = variable("cell", 8, 16)
    return tf.map_fn(lambda row: tf.tanh(tf.matmul(row, kernel)), sequence)


def nested(sequence, lengths):
    """A loop in the body of a loop, both with variables."""
    kernel = variable("cell", 8, 16)

    def line(row):
        start = tf.zeros(tf.stack([tf.shape(row)[0], 16]))
        return tf.while_loop(lambda n, _: n < 3, lambda n, x: (n + 1, tf.tanh(x + tf.matmul(row, kernel))), (0, start))[
            1
        ]

    return tf.map_fn(line, sequence)


def in_function(sequence, lengths):
    """A loop in a function that has no name of its own."""
    kernel = variable("cell", 24, 16)
    return tensorflow.function(lambda rows, weights: rnn(rows, kernel=weights))(sequence, kernel)


def in_condition(sequence, lengths):
    """A loop on either branch of a condition on the picture's width."""
    with tf.variable_scope("both", reuse=tf.AUTO_REUSE):
        return tf.cond(tf.shape(sequence)[0] > 4, lambda: rnn(sequence), lambda: rnn(sequence * 2))


def as_long_as_lines_are(sequence, lengths):
    """A loop that ends with the longest line: how often it runs is data."""
    return rnn(sequence, tf.reduce_max(lengths))


def network(hidden, decode):
    image = tf.placeholder(tf.float32, [None, None, 8], name="image")
    length = tf.placeholder(tf.int32, [None], name="length")
    labels = tf.sparse_placeholder(tf.int32, name="labels")
    found = hidden(tf.transpose(image, [1, 0, 2]), length)
    found.set_shape([None, None, 16])
    logits = tf.identity(tf.tensordot(found, variable("classes", 16, 5), 1), name="logits")
    decode(logits, length)
    return tf.reduce_mean(tf.nn.ctc_loss(labels, logits, length, ignore_longer_outputs_than_inputs=True))


def inspected(run, prefix):
    result = run("inspect", prefix, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def offered(content, side):
    return [one["tensor"] for one in content["graph"][side] if one.get("proposed", True)]


@pytest.mark.parametrize("hidden", [plain, mapped, nested, in_function, in_condition, as_long_as_lines_are])
def test_the_decoder_behind_a_trained_loop_is_found(run, tmp_path, hidden):
    """With image and lengths as inputs, and nothing that only says how often the loop runs."""
    with tf.Graph().as_default(), functional_control_flow():
        prefix = save(tmp_path, loss=network(hidden, tf.nn.ctc_greedy_decoder))
    content = inspected(run, prefix)
    assert sorted(offered(content, "inputs")) == ["image:0", "length:0"]
    assert "CTCGreedyDecoder:1" in offered(content, "outputs") and "logits:0" in offered(content, "outputs")
    assert content["graph"]["problems"] == []
    assert content["command"]


def test_a_loop_in_a_lambda_is_exported(run, tmp_path):
    """Its function is called __forward_<lambda>_12, which no node may be."""
    with tf.Graph().as_default(), functional_control_flow():
        prefix = save(tmp_path, loss=network(in_function, tf.nn.ctc_greedy_decoder))
    arguments = shlex.split(inspected(run, prefix)["command"])[2:-2]
    result = run("export", *arguments, "-o", tmp_path / "base")
    assert result.exit_code == 0, result.output


@pytest.mark.skipif(tf.__version__.startswith("1."), reason="sparse tensors of functions in graphs are of TensorFlow 2")
def test_what_a_decoder_inside_of_a_function_makes_is_found(run, tmp_path):
    """Its sequence lengths are what goes into the function and on to the decoder."""

    def decode(logits, length):
        @tensorflow.function
        def text(scores, steps):
            (decoded,), _ = tf.nn.ctc_greedy_decoder(scores, steps)
            return tf.sparse_tensor_to_dense(decoded, -1)

        tf.identity(text(logits, length), name="text")

    with tf.Graph().as_default(), functional_control_flow():
        prefix = save(tmp_path, loss=network(plain, decode))
    content = inspected(run, prefix)
    assert sorted(offered(content, "inputs")) == ["image:0", "length:0"]
    assert [one["kind"] for one in content["graph"]["inputs"] if one["tensor"] == "length:0"] == ["lengths"]
    assert set(offered(content, "outputs")) == {"text:0", "logits:0"}
    arguments = shlex.split(content["command"])[2:-2]
    result = run("export", *arguments, "-o", tmp_path / "base")
    assert result.exit_code == 0, result.output


@pytest.mark.skipif(tf.__version__.startswith("1."), reason="sparse tensors of functions in graphs are of TensorFlow 2")
def test_labels_that_go_into_a_function_with_a_decoder_are_no_lengths(run, tmp_path):
    """The function compares what it decodes with them: nothing of it is offered."""

    def decode(logits, length):
        wanted = tf.placeholder(tf.int32, [None], name="wanted")

        @tensorflow.function
        def wrong(scores, steps, labels):
            (decoded,), _ = tf.nn.ctc_greedy_decoder(scores, steps)
            return tf.not_equal(tf.cast(tf.sparse_tensor_to_dense(decoded, -1), tf.int32), labels[:, tf.newaxis])

        tf.cast(wrong(logits, length, wanted), tf.int32, name="wrong")

    with tf.Graph().as_default(), functional_control_flow():
        prefix = save(tmp_path, loss=network(plain, decode))
    content = inspected(run, prefix)
    assert offered(content, "inputs") == ["image:0"]
    assert offered(content, "outputs") == ["logits:0"]
