"""Ops of tf.contrib: all commands say the same of them, on the TensorFlow that has them and on those that have not."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from ckpt2saved.errors import NotServable
from ckpt2saved.graph.contrib import register_ops
from ckpt2saved.graph.tf1 import SavedModel, contrib_directory, op_def, tf
from ckpt2saved.rewrites.lint import check_servable

WITH_CONTRIB = contrib_directory() is not None
on_1_x = pytest.mark.skipif(not WITH_CONTRIB, reason="this TensorFlow has no tf.contrib")
on_2_x = pytest.mark.skipif(WITH_CONTRIB, reason="this TensorFlow has tf.contrib")

# What a training script does. Each graph answers `y` from `x`, by an op of contrib and a variable.
TRAINING = """
import importlib, sys
import tensorflow as tf
kind, prefix = sys.argv[1:]
x = tf.placeholder(tf.float32, [None, 4], name="x")
w = tf.get_variable("w", [4, 4], initializer=tf.random_normal_initializer(seed=1))
if kind == "GatherTree":
    seq2seq = importlib.import_module("tensorflow.contrib.seq2seq")
    ids = tf.cast(tf.tile(tf.reshape(tf.matmul(x, w), [4, -1, 1]), [1, 1, 2]), tf.int32)
    found = seq2seq.gather_tree(ids, tf.zeros_like(ids), tf.fill([tf.shape(x)[0]], 4), 99)
elif kind == "Resampler":
    resampler = importlib.import_module("tensorflow.contrib.resampler")
    found = resampler.resampler(tf.reshape(tf.matmul(x, w), [-1, 2, 2, 1]), tf.reshape(x, [-1, 2, 2]))
else:
    rnn = importlib.import_module("tensorflow.contrib.rnn")
    found = rnn.LSTMBlockFusedCell(4)(tf.reshape(tf.matmul(x, w), [1, -1, 4]), dtype=tf.float32)[0]
tf.identity(found, name="y")
with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    tf.train.Saver().save(session, prefix, global_step=1)
"""


def trained(folder, kind):
    """The prefix of a training with an op of contrib, made in a process of its own: in this one nothing is registered."""
    command = [sys.executable, "-W", "ignore", "-c", TRAINING, kind, str(folder / "model.ckpt")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return folder / "model.ckpt-1"


def command_line(*arguments):
    """ckpt2saved in a new process: exit code and output."""
    command = [sys.executable, "-W", "ignore", "-m", "ckpt2saved"] + [str(argument) for argument in arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.returncode, done.stdout


@on_1_x
@pytest.mark.parametrize("kind", ["GatherTree", "BlockLSTM"])
def test_a_graph_with_an_op_that_servers_link_is_served(tmp_path, run, kind):
    """From its .meta, for the oldest server, as verify and doctor say too; each in a process that knew nothing of it."""
    checkpoint = trained(tmp_path, kind)
    ends = ["--input", "x=x:0", "--output", "y=y:0"]
    code, output = command_line(
        "export", "--checkpoint", checkpoint, *ends, "--for-serving", "1.14", "-o", tmp_path / "m"
    )
    assert code == 0, output
    assert "parity" in output and "has all of its ops" in output
    nodes = SavedModel.FromString((tmp_path / "m" / "1" / "saved_model.pb").read_bytes()).meta_graphs[0].graph_def.node
    assert kind in {node.op for node in nodes}
    code, output = command_line("verify", tmp_path / "m")
    assert code == 0 and "complete, no problems found" in output, output
    done = run("doctor", tmp_path / "m", "--serving", "1.14", "--json")
    fits = json.loads(done.output)["saved_model"]["fits"]
    assert done.exit_code == 0 and fits[:2] == ["1.14", "1.15"] and ("2.0" in fits) is (kind != "GatherTree")


@on_1_x
def test_a_graph_with_an_op_that_no_server_links_is_refused(tmp_path, run):
    """By export, by inspect, by verify and by doctor, for the same reason."""
    checkpoint = trained(tmp_path, "Resampler")
    ends = ["--input", "x=x:0", "--output", "y=y:0"]
    reason = "an op of tf.contrib, and no image of TF Serving links it"
    code, output = command_line("export", "--checkpoint", checkpoint, *ends, "-o", tmp_path / "m")
    assert code == 3 and reason in output, output
    done = run("inspect", checkpoint)
    assert done.exit_code == 0 and reason in done.output, done.output
    with tf.Graph().as_default() as graph:
        register_ops(["Resampler"])
        x = tf.placeholder(tf.float32, [None, 2, 2, 1], name="x")
        graph.create_op("Resampler", [x, tf.reshape(x, [-1, 2, 2])], [tf.float32], name="y")
        saved_model(tmp_path / "own" / "1", graph.as_graph_def())
    done = run("verify", tmp_path / "own")
    assert done.exit_code == 3 and reason in done.output, done.output
    done = run("doctor", tmp_path / "own")
    words = " ".join(done.output.split())
    assert done.exit_code == 3 and reason in words and "fits none" in words, done.output


def saved_model(directory, graph_def):
    message = SavedModel(saved_model_schema_version=1)
    meta_graph = message.meta_graphs.add(graph_def=graph_def)
    meta_graph.meta_info_def.tags.append("serve")
    signature = meta_graph.signature_def["serving_default"]
    signature.method_name = "tensorflow/serving/predict"
    for side, key in ((signature.inputs, "x"), (signature.outputs, "y")):
        side[key].name, side[key].dtype = key + ":0", 1
        side[key].tensor_shape.unknown_rank = True
    directory.mkdir(parents=True)
    (directory / "saved_model.pb").write_bytes(message.SerializeToString())


@on_1_x
def test_only_what_is_asked_for_is_registered():
    """One library, which tf.contrib then finds loaded; the others, and an op of nobody's, stay unknown."""
    code = """
from ckpt2saved.graph.contrib import register_ops
from ckpt2saved.graph.tf1 import has_cpu_kernel, op_def
assert op_def("GatherTree") is None
register_ops(["GatherTree", "GRUBlockCell", "NoSuchOp", "Conv2D"])
assert op_def("GatherTree") and op_def("GRUBlockCell") and has_cpu_kernel("GRUBlockCell")
assert op_def("NoSuchOp") is None and op_def("Resampler") is None
import sys
assert not [name for name in sys.modules if "contrib.seq2seq" in name or "contrib.rnn" in name]
import tensorflow
tensorflow.contrib.seq2seq.BeamSearchDecoder, tensorflow.contrib.rnn.GRUBlockCell, tensorflow.contrib.rnn.LSTMBlockCell
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout


@on_2_x
def test_a_tensorflow_without_contrib_says_who_has_the_op(tmp_path, run):
    """export, from the .meta that TensorFlow 1.x left; verify and doctor, of a SavedModel that it wrote."""
    register_ops(["GatherTree"])
    assert op_def("GatherTree") is None
    with tf.Graph().as_default() as graph, tf.Session() as session:
        x = tf.placeholder(tf.float32, [None, 4], name="x")
        tf.identity(x * tf.get_variable("w", [4], use_resource=False), name="y")
        session.run(tf.global_variables_initializer())
        tf.train.Saver().save(session, str(tmp_path / "model.ckpt"))
        graph_def = graph.as_graph_def()
    for op, reason in (
        ("GatherTree", "an op of tf.contrib, which TF Serving has in 1.14 to 1.15 only"),
        ("Resampler", "an op of tf.contrib, and no image of TF Serving links it"),
    ):
        meta_graph = tf.MetaGraphDef.FromString((tmp_path / "model.ckpt.meta").read_bytes())
        (node,) = [node for node in meta_graph.graph_def.node if node.name == "y"]
        node.op = op
        (tmp_path / "model.ckpt.meta").write_bytes(meta_graph.SerializeToString())
        ends = ["--input", "x=x:0", "--output", "y=y:0"]
        done = run("export", "--checkpoint", tmp_path / "model.ckpt", *ends, "-o", tmp_path / "m")
        assert done.exit_code == 3 and f"y ({op}): {reason}" in done.output, done.output
        simple = tf.GraphDef.FromString(graph_def.SerializeToString())
        del simple.node[1:]
        simple.node.add(name="y", op=op, input=["x"])
        saved_model(tmp_path / op / "1", simple)
        done = run("verify", tmp_path / op)
        assert done.exit_code == 3 and f"{op}: {reason}" in done.output, done.output
        done = run("doctor", tmp_path / op)
        fits = "fits TF Serving 1.14 to 1.15" if op == "GatherTree" else "fits none"
        assert fits in " ".join(done.output.split()) and reason in " ".join(done.output.split())


def test_an_op_of_contrib_in_a_function_is_seen():
    """As well as one in the graph."""
    graph_def = tf.GraphDef()
    function = graph_def.library.function.add()
    function.signature.name = "f"
    function.node_def.add(name="inner", op="PeriodicResample")
    with pytest.raises(NotServable, match="inner in the function f .PeriodicResample.: an op of tf.contrib, and no"):
        check_servable(graph_def)
