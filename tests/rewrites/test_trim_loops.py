"""Loops of recurrent layers do without a second counter and masks, and the answers stay to the last bit."""

from __future__ import annotations

import numpy as np
import pytest

from ckpt2saved.graph.graph_def import pruned
from ckpt2saved.graph.tf1 import tf, v1_control_flow
from ckpt2saved.rewrites import trim_loops
from ckpt2saved.rewrites.context import Context
from ckpt2saved.rewrites.for_serving import FOR_SERVING
from ckpt2saved.rewrites.rewrite import apply
from ckpt2saved.rewrites.trim_loops import TrimLoops
from tests.support.recurrent import exported, gru_step, trained, weights

OLD = pytest.mark.skipif(not tf.VERSION.startswith("1."), reason="today's TensorFlow refuses the cells")
DEPTH, HIDDEN = 6, 5
COUNTER, STATES, OUTPUTS = "a second counter", "masks of states", "masks of outputs"


def gru():
    """A step, and the number of states."""
    step = gru_step(DEPTH, HIDDEN)
    return (lambda x, h: [step(x, h)]), 1


def lstm():
    kernel, bias = weights("kernel", DEPTH + HIDDEN, 4 * HIDDEN), weights("bias", 4 * HIDDEN)

    def step(x, h, c):
        i, j, f, o = tf.split(tf.nn.bias_add(tf.matmul(tf.concat([x, h], 1), kernel), bias), 4, 1)
        c = c * tf.sigmoid(f + 1.0) + tf.sigmoid(i) * tf.tanh(j)
        return [tf.tanh(c) * tf.sigmoid(o), c]

    return step, 2


def mixing_lines():
    """What is computed of a line depends on the others."""
    step, _ = gru()
    return (lambda x, h: step(x, h - tf.reduce_mean(h, 0, keepdims=True))), 1


def transposing_lines():
    """A product of a line with each other."""
    step, _ = gru()
    return (lambda x, h: step(x, tf.matmul(tf.matmul(h, h, transpose_b=True), h))), 1


def select(condition, x, y):
    """What tf.where is on TensorFlow 1."""
    return tf.raw_ops.Select(condition=condition, x=x, y=y)


def layer(
    cell=gru,
    ends=False,
    change=None,
    hold=False,
    read=lambda array: array.stack(),
    start=0,
    by=1,
    fill=0.0,
    sized=False,
):
    """A layer as tf.nn.dynamic_rnn makes it, with lengths.

    `ends`: and its last states; `hold`: lines that have ended repeat their last output; `sized`: each step takes the size
    of the array with the outputs.
    """

    def build(x, lengths):
        step, states = cell()
        steps, batch = tf.shape(x)[0], tf.shape(x)[1]
        arriving = tf.TensorArray(tf.float32, steps).unstack(x)
        longest = tf.minimum(steps, tf.maximum(1, tf.reduce_max(lengths))) + start
        nothing = tf.fill([batch, HIDDEN], fill)

        def body(time, outputs, *state):
            arrived = arriving.read(time - start if start else time)
            if sized:
                size = tf.raw_ops.TensorArraySizeV3(handle=outputs.handle, flow_in=outputs.flow)
                arrived *= tf.cast(size, tf.float32)
            new = step(arrived, *state)
            ended = time >= lengths
            output = select(ended, state[0] if hold else nothing, new[0])
            output = change(output) if change else output
            outputs = outputs.write(time - start if start else time, output)
            return (time + by, outputs, *[select(ended, old, one) for old, one in zip(state, new)])

        first = [start, tf.TensorArray(tf.float32, steps, element_shape=[None, HIDDEN], clear_after_read=False)]
        first += [tf.zeros([batch, HIDDEN])] * states
        _, array, *last = tf.while_loop(
            lambda time, *_: time < longest, body, tuple(first), maximum_iterations=steps, parallel_iterations=32
        )
        made = read(array)
        return made + tf.add_n(last) if ends else made

    return build


def trimmed(build, shape=(None,)):
    """What left the loop, and the ops that are left in loops; the answers are the same to the last bit."""
    with tf.Graph().as_default() as graph, tf.Session() as session, v1_control_flow():
        tf.set_random_seed(1)
        x = tf.placeholder(tf.float32, [None, None, DEPTH], name="x")
        lengths = tf.placeholder(tf.int32, shape, name="lengths")
        with tf.variable_scope("net", use_resource=False):
            y = build(x, lengths)
        y = tf.identity(y, name="y")
        session.run(tf.global_variables_initializer())
        graph_def = pruned(graph.as_graph_def(), ["y"])
        context = Context.of(graph_def, ["y:0"], ["x:0", "lengths:0"])
        made = apply([TrimLoops()], context, "refused")
        found = made.graph_def()
        shared = {f"{n.name}:0": graph.get_tensor_by_name(f"{n.name}:0") for n in found.node if n.op == "VariableV2"}
        given = {**shared, "x:0": x, "lengths:0": lengths}
        (other,) = tf.import_graph_def(found, given, ["y:0"], name="other")
        for ends in ([7], [4], [0], [3, 7, 0, 6], [2, 5, 1]):
            feed = {x: np.random.RandomState(len(ends)).uniform(-1, 1, (7, len(ends), DEPTH)), lengths: ends}
            # Not in one run: the loops of both have the same names.
            wanted, answers = [session.run(tensor, feed) for tensor in (y, other)]
            assert np.abs(wanted).max() > 0.01 or not any(ends)
            np.testing.assert_array_equal(answers, wanted)
    loops = made.graph.control.in_loops
    ops = [node.op for node in found.node if node.name in loops]
    return [edit.text.partition(": without ")[2].split(", ") for edit in made.edits], ops


@pytest.mark.parametrize("cell", [gru, lstm])
def test_counter_and_masks_leave_the_loop(cell):
    """A step has one counter, one comparison of it, and no Select."""
    texts, ops = trimmed(layer(cell))
    assert texts == [[COUNTER, STATES, OUTPUTS]]
    assert not {"Select", "GreaterEqual", "LogicalAnd"} & set(ops) and ops.count("Less") == 1
    assert ops.count("NextIteration") == {gru: 3, lstm: 4}[cell]


def read_once(array):
    return array.stack() + array.read(3)


def not_from_0(array):
    return array.gather(tf.range(3, 7))


LEFT = {
    "last states are used": (layer(lstm, ends=True), [COUNTER]),
    "lines are mixed": (layer(mixing_lines), [COUNTER]),
    "lines are multiplied": (layer(transposing_lines), [COUNTER]),
    "an output is read by itself": (layer(read=read_once), [COUNTER, STATES]),
    "a step reads the outputs": (layer(sized=True), [COUNTER, STATES]),
    "some outputs are read": (layer(read=not_from_0), [COUNTER, STATES]),
    "masked outputs are changed": (layer(change=lambda output: output + 1.0), [COUNTER, STATES]),
    "masked outputs are not 0": (layer(fill=0.5), [COUNTER, STATES]),
    "ended lines repeat their output": (layer(hold=True), [COUNTER]),
    "the step counts from 1": (layer(start=1), []),
    "the step counts by 2": (layer(by=2), []),
}


@pytest.mark.parametrize("kind", sorted(LEFT))
def test_what_has_effects_stays(kind):
    """The answers are the same in any case."""
    build, removed = LEFT[kind]
    texts, ops = trimmed(build)
    assert texts == ([removed] if removed else [])
    assert "Select" in ops


def test_states_of_ended_lines_that_are_written():
    """The array of the loop holds the state itself, which the mask keeps."""

    def build(x, lengths):
        step, steps = gru_step(DEPTH, HIDDEN), tf.shape(x)[0]
        arriving = tf.TensorArray(tf.float32, steps).unstack(x)

        def body(time, outputs, state):
            ended = time >= lengths
            return time + 1, outputs.write(time, state), select(ended, state, step(arriving.read(time), state))

        first = [0, tf.TensorArray(tf.float32, steps), tf.zeros([tf.shape(x)[1], HIDDEN])]
        return tf.while_loop(lambda time, *_: time < steps, body, first)[1].stack()

    assert trimmed(build)[0] == []


def test_lengths_of_unknown_shape():
    """They might be no vector: outputs are masked in the loop."""
    assert trimmed(layer(), shape=None)[0] == [[COUNTER, STATES]]


def test_an_array_that_is_an_output():
    """Its tensor is served as it is."""
    with tf.Graph().as_default() as graph, v1_control_flow():
        x, lengths = tf.placeholder(tf.float32, [None, None, DEPTH]), tf.placeholder(tf.int32, [None])
        made = layer()(x, lengths)
    context = Context.of(graph.as_graph_def(), [made.name], [x.name, lengths.name])
    (edit,) = apply([TrimLoops()], context, "refused").edits
    assert edit.text.endswith(f": without {COUNTER}, {STATES}")


def test_a_loop_without_a_recurrent_layer():
    def build(x, lengths):
        steps = tf.reduce_max(lengths)
        return tf.while_loop(lambda t, _: t < steps, lambda t, y: (t + 1, y * 2), (0, x[0]), maximum_iterations=5)[1]

    assert trimmed(build)[0] == []


@OLD
@pytest.mark.parametrize("name", ["BasicLSTMCell", "LSTMCell", "GRUCell", "peepholes", "projection"])
def test_cells_of_tensorflow_1(name):
    """In bidirectional_dynamic_rnn, with sequence lengths."""
    cells = tf.nn.rnn_cell
    how = {"peepholes": {"use_peepholes": True}, "projection": {"num_proj": 3}}.get(name, {})

    def build(x, lengths):
        pair = [getattr(cells, "LSTMCell" if how else name)(HIDDEN, **how) for _ in range(2)]
        made, _ = tf.nn.bidirectional_dynamic_rnn(*pair, x, lengths, dtype=tf.float32, time_major=True)
        return tf.concat(made, 2)

    texts, ops = trimmed(build)
    assert texts == [[COUNTER, STATES, OUTPUTS]] * 2 and "Select" not in ops


@OLD
def test_several_cells_in_a_loop():
    def build(x, lengths):
        cell = tf.nn.rnn_cell.MultiRNNCell([tf.nn.rnn_cell.BasicLSTMCell(HIDDEN) for _ in range(2)])
        return tf.nn.dynamic_rnn(cell, x, lengths, dtype=tf.float32, time_major=True)[0]

    assert trimmed(build)[0] == [[COUNTER, STATES, OUTPUTS]]


# Exports.


def graph_of_layer():
    with tf.Graph().as_default() as graph, v1_control_flow():
        x = tf.placeholder(tf.float32, [None, None, DEPTH], name="x")
        with tf.variable_scope("net", use_resource=False):
            y = layer()(x, tf.fill([tf.shape(x)[1]], tf.shape(x)[0] - 1))
        tf.identity(y, name="y")
    return graph


def test_an_export_lists_trimmed_loops(run, tmp_path):
    made, _ = exported(run, tmp_path, trained(tmp_path, graph_of_layer()))
    assert len(made["trimmed_loops"]) == len(made["hoisted_loops"]) == 1 and made["parity"]["answers"]


def test_wrong_masks_are_found_out(run, tmp_path, monkeypatch):
    """By the comparison with the graph before; then the loops stay, and people are told."""
    monkeypatch.setattr(trim_loops, "masked_steps", lambda steps, lengths: [steps * 1.01])
    made, output = exported(run, tmp_path, trained(tmp_path, graph_of_layer()))
    assert made["trimmed_loops"] == made["hoisted_loops"] == [] and made["parity"]["answers"], output
    assert "\nrecurrent   layers stay as they are: " in output and "\ndiffers     " in output


def test_it_is_on_by_default():
    assert any(isinstance(rewrite, TrimLoops) for rewrite in FOR_SERVING)
