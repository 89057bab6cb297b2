"""On servers with a GPU the loops of a decoder run on the CPU."""

from __future__ import annotations

import numpy as np
import pytest

from ckpt2saved import ctc
from ckpt2saved.graph.graph import Graph
from ckpt2saved.graph.placement import CPU, place_decoder_on_cpu
from ckpt2saved.graph.tf1 import tf, v1_control_flow

CLASSES = 1200  # of which the best are found in blocks


def recognizer(width):
    """A recurrent layer, its logits, and the decoder."""
    with tf.Graph().as_default() as graph, v1_control_flow():
        x = tf.placeholder(tf.float32, [None, None, 4], name="x")
        weights = tf.constant(np.random.RandomState(0).uniform(-1, 1, [8, 4]).astype("float32"))
        steps = tf.TensorArray(tf.float32, tf.shape(x)[0]).unstack(x)
        states = tf.TensorArray(tf.float32, tf.shape(x)[0])

        def step(t, state, states):
            state = tf.tanh(tf.matmul(tf.concat([steps.read(t), state], 1), weights))
            return t + 1, state, states.write(t, state)

        first = [tf.constant(0), tf.zeros([tf.shape(x)[1], 4]), states]
        states = tf.while_loop(lambda t, *_: t < tf.shape(x)[0], step, first, name="layer")[2].stack()
        kernel = tf.constant(np.random.RandomState(1).uniform(-3, 3, [4, CLASSES]).astype("float32"))
        logits = tf.tensordot(states, kernel, 1)
        lengths = tf.fill(tf.shape(x)[1:2], tf.shape(x)[0])
        (best,), _ = ctc.beam_search(logits, lengths, beam_width=width, top_paths=1, merge_repeated=False)
        tf.identity(best.values, name="labels")
    return graph.as_graph_def()


@pytest.mark.parametrize("width", [1, 3])
def test_the_loops_of_a_decoder_and_what_follows_them(width):
    graph_def = recognizer(width)
    before = answers(graph_def)
    assert place_decoder_on_cpu(graph_def)
    graph = Graph(graph_def)
    placed = {node.name for node in graph_def.node if node.device}
    assert {node.device for node in graph_def.node} == {"", CPU}
    assert "labels" in placed and not any(name.startswith(("layer", "Tensordot")) for name in placed)
    of_decoder = {name for name in graph.control.in_loops if not name.startswith("layer")}
    assert of_decoder and of_decoder <= placed
    # The arrays of a loop are on its device, or TensorFlow refuses the graph.
    arrays = [node for node in graph_def.node if node.op.startswith("TensorArray") and "ctc_beam_search" in node.name]
    assert arrays and all(node.name in placed for node in arrays)
    # All logits are read on the GPU.
    largest = [
        node for node in graph_def.node if node.op == "Max" and node.attr["T"].type == tf.float32.as_datatype_enum
    ]
    assert largest and not any(node.device for node in largest)
    np.testing.assert_array_equal(answers(graph_def), before)


def answers(graph_def):
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(graph_def, name="")
        x = np.random.RandomState(2).uniform(-1, 1, [9, 3, 4]).astype("float32")
        return session.run("labels:0", {"x:0": x})


def test_a_graph_without_a_decoder_stays():
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 4])
        tf.nn.softmax(tf.matmul(x, tf.ones([4, 2])))
    graph_def = graph.as_graph_def()
    assert not place_decoder_on_cpu(graph_def)
    assert graph_def == graph.as_graph_def()
