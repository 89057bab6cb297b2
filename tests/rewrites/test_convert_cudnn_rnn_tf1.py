"""Layers of cuDNN in TensorFlow 1.x, of tf.contrib and Keras, are served as the same layers of CPUs."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ckpt2saved.graph.tf1 import tf
from tests.support.checkpoints import write_checkpoint
from tests.support.recurrent import layers
from tests.support.saved_models import asked

cudnn_rnn = pytest.importorskip("tensorflow.contrib.cudnn_rnn", reason="contrib, of TensorFlow 1.x")

INPUTS = np.random.RandomState(5).uniform(-1, 1, [3, 6, 4]).astype("float32")  # [batch, time, size]


def exported(run, tmp_path, values):
    """The answer of a version of the training whose .meta is there, for a checkpoint of `values`."""
    write_checkpoint(tmp_path / "model", values)
    inspected = run("inspect", tmp_path).output
    assert "--output y=y:0" in inspected, inspected
    assert "problem" not in inspected and "not in the graph" not in inspected, inspected
    options = ["--input", "x:0", "--output", "y:0", "-o", tmp_path / "base"]
    result = run("export", "--graph", "meta", "--checkpoint", tmp_path, *options)
    assert result.exit_code == 0, result.output
    edits = json.loads((tmp_path / "base" / "1" / "assets.extra" / "ckpt2saved.json").read_text())["edits"]
    assert [edit["kind"] for edit in edits][-1] == "cudnn"
    assert "no optimizer slots" not in result.output
    answer = asked(tmp_path / "base" / "1", x=INPUTS)["y"]
    result = run("export", "--graph", "meta", "--checkpoint", tmp_path, *options, "--for-device", "gpu")
    assert result.exit_code == 0 and "kept for GPUs" in result.output, result.output
    np.testing.assert_allclose(asked(tmp_path / "base" / "2", x=INPUTS)["y"], answer, rtol=0, atol=1e-6)
    return answer


def train(output, path):
    """Add an optimizer, and write the .meta file: without a GPU there is no checkpoint."""
    tf.train.AdamOptimizer().minimize(tf.reduce_mean(output))
    tf.train.Saver().export_meta_graph(str(path / "model.meta"))


@pytest.mark.parametrize("mode", ["lstm", "gru"])
def test_layers_of_contrib(run, tmp_path, mode):
    """Two bidirectional layers with dropout, against the cells that contrib has for CPUs."""
    import tensorflow as all_of_it

    made = layers(mode, 4, 5, 2, 2)
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [None, None, 4], name="x")
        layer = {"lstm": cudnn_rnn.CudnnLSTM, "gru": cudnn_rnn.CudnnGRU}[mode]
        with tf.variable_scope("net"):
            steps, _ = layer(2, 5, direction="bidirectional", dropout=0.3)(tf.transpose(x, [1, 0, 2]), training=True)
        scale = tf.get_variable("scale", [10])
        output = tf.multiply(tf.transpose(steps, [1, 0, 2]), scale, name="y")
        train(output, tmp_path)
        slots = [v.op.name for v in tf.global_variables() if "opaque_kernel/" in v.op.name]
    values = dict(made.contrib("net/"), **dict.fromkeys(slots, made.buffer()))
    for name in ("scale", "scale/Adam", "scale/Adam_1"):
        values[name] = np.arange(10, dtype="float32")
    values.update(beta1_power=np.float32(0.9), beta2_power=np.float32(0.9))
    found = exported(run, tmp_path, values)
    cell = {"lstm": cudnn_rnn.CudnnCompatibleLSTMCell, "gru": cudnn_rnn.CudnnCompatibleGRUCell}[mode]
    with tf.Graph().as_default(), tf.Session() as session:
        cells = [[cell(5), cell(5)], [cell(5), cell(5)]]
        stacked = all_of_it.contrib.rnn.stack_bidirectional_dynamic_rnn
        with tf.variable_scope("net"):
            expected, _, _ = stacked(*cells, tf.constant(INPUTS), dtype=tf.float32)
        expected *= tf.get_variable("scale", [10])
        tf.train.Saver().restore(session, str(tmp_path / "model"))
        np.testing.assert_allclose(found, session.run(expected), rtol=0, atol=1e-5)


@pytest.mark.parametrize("mode", ["lstm", "gru"])
def test_layers_of_keras(run, tmp_path, mode):
    """CuDNNLSTM and CuDNNGRU with the weights to which Keras itself converts those of layers of CPUs."""
    from tensorflow.python.keras.saving.hdf5_format import _convert_rnn_weights

    made = layers(mode, 4, 5)
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [None, 6, 4], name="x")
        kind = {"lstm": tf.keras.layers.CuDNNLSTM, "gru": tf.keras.layers.CuDNNGRU}[mode]
        layer = kind(5, return_sequences=True, name="rnn")
        output = tf.identity(layer(x), name="y")
        train(output, tmp_path)
        names = [variable.op.name for variable in layer.weights]
        weights = _convert_rnn_weights(layer, list(made.weights[0][0]))
    values = {}
    for name, value in zip(names, weights):
        values.update({name: value, name + "/Adam": value, name + "/Adam_1": value})
    found = exported(run, tmp_path, values)
    states = [np.zeros_like(state) for state in made.states(3)]
    expected = made.answers(np.swapaxes(INPUTS, 0, 1), states)[0]
    np.testing.assert_allclose(found, np.swapaxes(expected, 0, 1), rtol=0, atol=1e-5)
