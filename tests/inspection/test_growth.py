"""What inspect and export take for a graph grows with the graph, not with its square."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("tensorflow")

from ckpt2saved.graph.meta_graph import read_meta_graph
from ckpt2saved.graph.tf1 import tf, v1_control_flow
from ckpt2saved.inspection.report import inspect_subject
from ckpt2saved.inspection.subject import find_subject
from tests.support.trainings import save, weights


def unrolled(directory, steps):
    """A recurrent network of so many steps, each with gates, sliced inputs and dropout, with gradients and Adam."""
    with tf.Graph().as_default(), v1_control_flow():
        image = tf.placeholder(tf.float32, [None, steps, 4], name="image")
        keep = tf.placeholder(tf.float32, [], name="keep")
        lengths = tf.placeholder(tf.int32, [None], name="lengths")
        kernel, bias = weights("cell", 8, 8), weights("bias", 8)
        state, outputs = tf.zeros(tf.stack([tf.shape(image)[0], 4])), []
        for step in range(steps):
            gate, new = tf.split(tf.matmul(tf.concat([image[:, step], state], 1), kernel) + bias, 2, 1)
            state = state * tf.sigmoid(gate) + tf.tanh(new)
            outputs.append(tf.nn.dropout(state, rate=1 - keep) if step % 5 == 0 else state)
        flat = tf.matmul(tf.reshape(tf.stack(outputs), [-1, 4]), weights("classes", 4, 5))
        logits = tf.reshape(flat, [steps, -1, 5], name="logits")
        labels = tf.sparse_placeholder(tf.int32, name="labels")
        tf.nn.ctc_greedy_decoder(logits, lengths)
        return save(directory, loss=tf.reduce_mean(tf.nn.ctc_loss(labels, logits, lengths)))


def count_calls(function):
    """How many of our own functions run: the same on every machine, however busy."""
    count = [0]

    def seen(frame, event, argument):
        if event == "call" and "ckpt2saved" in frame.f_code.co_filename:
            count[0] += 1

    sys.setprofile(seen)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count[0]


def test_an_inspection_of_four_times_the_graph_takes_four_times_as_much(tmp_path):
    """With some room for what is made once; what walks the graph anew for each node would take sixteen times as much."""
    calls, nodes = [], []
    for steps in (10, 40):
        folder = tmp_path / str(steps)
        folder.mkdir()
        prefix = Path(unrolled(folder, steps))
        subject = find_subject(prefix)
        calls.append(count_calls(lambda: inspect_subject(subject)))  # noqa: B023
        nodes.append(len(read_meta_graph(subject.meta).graph_def.node))
    assert nodes[1] > 3 * nodes[0]
    assert calls[1] < 4.6 * calls[0], calls
