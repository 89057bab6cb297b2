"""For servers with a GPU loops that are LSTMs become calls of cuDNN; CPUs answer as before."""

from __future__ import annotations

import numpy as np
import pytest

from ckpt2saved.graph.graph_def import pruned
from ckpt2saved.graph.placement import CPU
from ckpt2saved.graph.tf1 import tf, v1_control_flow
from ckpt2saved.rewrites.context import Context
from ckpt2saved.rewrites.for_serving import for_serving
from ckpt2saved.rewrites.loops_to_cudnn import LoopToCudnn
from ckpt2saved.rewrites.rewrite import apply
from ckpt2saved.saved_model.parsing import parse_saved_model
from ckpt2saved.sources.networks.layers import bidirectional_lstm
from ckpt2saved.versions import read_provenance
from tests.support.cudnn import chosen
from tests.support.recurrent import weights

DEPTH, HIDDEN = 6, 5


def cell(forget=1.0, activation=tf.tanh, peephole=0.0, count=4):
    """A step of an LSTM as BasicLSTMCell computes it."""
    kernel, bias = weights("kernel", DEPTH + HIDDEN, count * HIDDEN), weights("bias", count * HIDDEN)

    def step(x, h, c):
        made = tf.nn.bias_add(tf.matmul(tf.concat([x, h], 1), kernel), bias)
        i, j, f, o = (tf.split(made, count, 1) * 2)[:4]
        f = f + forget + peephole * c if peephole else f + forget
        c = c * tf.sigmoid(f) + tf.sigmoid(i) * activation(j)
        return tf.tanh(c) * tf.sigmoid(o), c

    return step


def keras_cell():
    """A step of an LSTM as Keras computes it: another order of gates, and two products."""
    kernel, recurrent = weights("kernel", DEPTH, 4 * HIDDEN), weights("recurrent", HIDDEN, 4 * HIDDEN)
    bias = weights("bias", 4 * HIDDEN)

    def step(x, h, c):
        made = tf.nn.bias_add(tf.matmul(x, kernel) + tf.matmul(h, recurrent), bias)
        i, f, j, o = tf.split(made, 4, 1)
        c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(j)
        return tf.sigmoid(o) * tf.tanh(c), c

    return step


def layer(has_lengths=False, ends=False, first=0.0, cell=cell, **how):
    """A layer as tf.nn.dynamic_rnn makes it."""

    def build(x, lengths):
        step, steps, batch = cell(**how), tf.shape(x)[0], tf.shape(x)[1]
        arriving = tf.TensorArray(tf.float32, steps).unstack(x)
        nothing = tf.zeros([batch, HIDDEN])

        def body(time, outputs, h, c):
            new_h, new_c = step(arriving.read(time), h, c)
            if not has_lengths:
                return time + 1, outputs.write(time, new_h), new_h, new_c
            ended = time >= lengths
            kept = [tf.raw_ops.Select(condition=ended, x=one, y=new) for one, new in ((h, new_h), (c, new_c))]
            output = tf.raw_ops.Select(condition=ended, x=nothing, y=new_h)
            return (time + 1, outputs.write(time, output), *kept)

        array = tf.TensorArray(tf.float32, steps, element_shape=[None, HIDDEN])
        begin = (0, array, tf.fill([batch, HIDDEN], first), tf.fill([batch, HIDDEN], 2 * first))
        # As dynamic_rnn does, which makes a second counter.
        _, outputs, h, _ = tf.while_loop(lambda time, *_: time < steps, body, begin, maximum_iterations=steps)
        return outputs.stack() + h if ends else outputs.stack()

    return build


def built_in(x, lengths):
    """The layer of the built-in networks."""
    names = [f"rnn/{way}/cell/{part}" for way in ("fw", "bw") for part in ("kernel", "bias")]
    shapes = [[DEPTH + HIDDEN, 4 * HIDDEN], [4 * HIDDEN]] * 2
    made = {name: weights(name.replace("/", "_"), *shape) for name, shape in zip(names, shapes)}
    return bidirectional_lstm(x, made, "rnn", "cell", lengths)


def rewritten(build):
    """The edits, and the graph for servers with a GPU, whose answers on the CPU are as before."""
    with tf.Graph().as_default() as graph, tf.Session() as session, v1_control_flow():
        tf.set_random_seed(1)
        x = tf.placeholder(tf.float32, [None, None, DEPTH], name="x")
        lengths = tf.placeholder(tf.int32, [None], name="lengths")
        with tf.variable_scope("net", use_resource=False):
            y = build(x, lengths)
        y = tf.identity(y, name="y")
        session.run(tf.global_variables_initializer())
        context = Context.of(pruned(graph.as_graph_def(), ["y", "lengths"]), ["y:0"], ["x:0", "lengths:0"])
        made = apply(for_serving(fold=False, for_gpu=True), context, "refused")
        found = made.graph_def()
        shared = {f"{n.name}:0": graph.get_tensor_by_name(f"{n.name}:0") for n in found.node if n.op == "VariableV2"}
        given = {**shared, "x:0": x, "lengths:0": lengths}
        (other,) = tf.import_graph_def(found, given, ["y:0"], name="other")
        for ends in ([7], [4], [3, 7, 0, 6]):
            values = np.random.RandomState(len(ends)).uniform(-1, 1, (7, len(ends), DEPTH))
            wanted, answers = [session.run(tensor, {x: values, lengths: ends}) for tensor in (y, other)]
            assert np.abs(wanted).max() > 0.01
            np.testing.assert_allclose(answers, wanted, rtol=0, atol=1e-6)
    return made.edits_of(LoopToCudnn), found


@pytest.mark.parametrize(
    "build, count",
    [
        (layer(), 1),
        (layer(forget=0.5), 1),
        (layer(first=0.3), 1),
        (layer(has_lengths=True), 1),
        (layer(cell=keras_cell), 1),
        (built_in, 2),
    ],
    ids=["plain", "forget bias", "first states", "lengths", "Keras", "built-in"],
)
def test_an_lstm_becomes_a_call_of_cudnn(build, count):
    """GPUs run CudnnRNNV3 and no step by itself, CPUs the loop."""
    edits, graph_def = rewritten(build)
    assert len(edits) == count
    assert not any(node.op == "LoopCond" for node in graph_def.node)
    on_gpu, on_cpu = [chosen(graph_def, device, output="y") for device in ("GPU", "CPU")]
    assert "CudnnRNNV3" in on_gpu and "Enter" not in on_gpu
    assert "CudnnRNNV3" not in on_cpu and "Enter" in on_cpu


@pytest.mark.parametrize(
    "build",
    [layer(ends=True), layer(activation=tf.nn.relu), layer(peephole=0.5), layer(count=2)],
    ids=["last states are used", "another activation", "peepholes", "gates are shared"],
)
def test_what_is_no_lstm_of_cudnn_stays_a_loop(build):
    edits, graph_def = rewritten(build)
    assert edits == () and any(node.op == "LoopCond" for node in graph_def.node)
    assert not graph_def.library.function


def test_servers_without_a_gpu_get_loops():
    assert not any(rewrite.name == "loops to cuDNN" for rewrite in for_serving())


def test_a_file_of_keras(run, tmp_path):
    """Its loops keep their steps in lists, as those of TensorFlow 2 do."""
    if not tf.executing_eagerly():
        pytest.skip("files of Keras need TensorFlow 2")
    keras = tf.compat.v2.keras
    layer = keras.layers.Bidirectional(keras.layers.LSTM(HIDDEN, return_sequences=True))
    keras.Sequential([keras.layers.Input([None, DEPTH]), layer]).save(str(tmp_path / "model.keras"))
    options = ["--graph", tmp_path / "model.keras", "--input", "x=x", "--output", "y=output"]
    result = run("export", *options, "-o", tmp_path / "m", "--for-device", "gpu")
    assert result.exit_code == 0, result.output
    made = read_provenance(tmp_path / "m" / "1")
    assert len(made["cudnn_loops"]) == 2 and made["parity"]["answers"]


def test_an_export_for_servers_with_a_gpu(run, crnn_checkpoint, tmp_path):
    """The layers are in cuDNN, and the decoder's loops on the CPU; answers are compared on this one."""
    result = run("export", "-m", "crnn", "-c", crnn_checkpoint, "-o", tmp_path / "crnn", "--for-device", "gpu")
    assert result.exit_code == 0, result.output
    assert "GPUs compute the LSTM in cuDNN, CPUs the loop" in result.output
    made = read_provenance(tmp_path / "crnn" / "1")
    assert made["cudnn_loops"] and made["parity"]["answers"] and made["for_device"] == "gpu"
    (meta_graph,) = parse_saved_model(tmp_path / "crnn" / "1").meta_graphs
    nodes = meta_graph.graph_def.node
    assert {node.device for node in nodes if node.op == "LoopCond"} == {CPU}
    calls = [node for node in nodes if node.op == "StatefulPartitionedCall"]
    assert len(calls) == len(made["cudnn_loops"]) and not any(node.device for node in calls)
    assert run("verify", tmp_path / "crnn", "--without-onednn").exit_code == 0
