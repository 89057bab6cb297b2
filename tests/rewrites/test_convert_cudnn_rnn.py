"""Recurrent networks of cuDNN become loops that answer as Keras' layers do on a CPU."""

from __future__ import annotations

import numpy as np
import pytest
from tensorflow.python.framework.function_def_to_graph import function_def_to_graph

from ckpt2saved.errors import NotServable
from ckpt2saved.graph.graph_def import pruned
from ckpt2saved.graph.ops import CUDNN_RNNS
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.rewrites.to_signatures import in_cpu_ops
from ckpt2saved.saved_model.parsing import parse_saved_model
from tests.support.checkpoints import write_checkpoint
from tests.support.cudnn import chosen, computed, computed_with_buffer, network, variable
from tests.support.recurrent import layers
from tests.support.saved_models import asked

INPUTS = np.random.RandomState(5).uniform(-1, 1, [6, 3, 4]).astype("float32")  # [time, batch, size]
LENGTHS = [6, 2, 4]
LSTM = layers("lstm", 4, 5)


def converted(op, mode, count, directions, **how):
    """A network of cuDNN after the rewrite, the edit, and what Keras answers on a CPU."""
    made = layers(mode, 4, 5, count, directions)
    states = made.states(3)
    lengths = LENGTHS if op == "CudnnRNNV3" else None
    graph_def, (edit,) = in_cpu_ops(network(op, made, states, lengths=lengths), **how)
    return graph_def, edit, made.answers(INPUTS, states, lengths)


def close(found, expected):
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "op, mode, count, directions",
    [
        ("CudnnRNN", "lstm", 1, 1),
        ("CudnnRNN", "gru", 2, 2),
        ("CudnnRNNV2", "gru", 1, 1),
        ("CudnnRNNV2", "lstm", 2, 1),
        ("CudnnRNNV3", "lstm", 2, 2),
        ("CudnnRNNV3", "gru", 1, 2),
    ],
)
def test_the_loops_answer_as_keras_does(op, mode, count, directions):
    graph_def, edit, answers = converted(op, mode, count, directions)
    assert not any("Cudnn" in node.op for node in graph_def.node)
    assert edit.node == "rnn" and op in edit.text and "compared with these loops" in edit.text
    close(computed(graph_def, len(answers), INPUTS), answers)


def test_a_network_with_the_batch_first():
    made = layers("lstm", 4, 5, 1, 2)
    states = made.states(3)
    turned = [np.swapaxes(state, 0, 1) for state in states]
    graph_def, _ = in_cpu_ops(network("CudnnRNNV3", made, turned, lengths=LENGTHS, time_major=False))
    found = computed(graph_def, 3, np.swapaxes(INPUTS, 0, 1))
    close([np.swapaxes(one, 0, 1) for one in found], made.answers(INPUTS, states, LENGTHS))


def test_the_product_of_the_inputs_is_outside_of_the_loop():
    made = layers("lstm", 4, 5)
    graph_def, _ = in_cpu_ops(network("CudnnRNN", made, made.states(3)))
    products = [node.name for node in graph_def.node if node.op == "MatMul"]
    assert len(products) == 2
    assert sum("/while/" in name for name in products) == 1


@pytest.mark.parametrize("mode", ["lstm", "gru"])
def test_a_bias_follows_the_product_in_the_loop(mode):
    """TensorFlow makes one op of both, whose kernel multiplies a single row faster than MatMul."""
    made = layers(mode, 4, 5)
    graph_def, _ = in_cpu_ops(network("CudnnRNN", made, made.states(3)))
    (product,) = [node.name for node in graph_def.node if node.op == "MatMul" and "/while/" in node.name]
    assert [node.op for node in graph_def.node if product in node.input] == ["BiasAdd"]


@pytest.mark.parametrize("mode, directions", [("lstm", 1), ("gru", 2)])
def test_parameters_under_the_names_of_contrib(mode, directions):
    made = layers(mode, 4, 5, 2, directions)
    states, saved = made.states(3), made.contrib("net/")
    given = network("CudnnRNN", made, states, variable("net/cudnn_lstm/opaque_kernel"))
    graph_def, _ = in_cpu_ops(given, {name: value.shape for name, value in saved.items()})
    names = {node.name for node in graph_def.node if node.op == "VariableV2"}
    assert names == set(saved) | {"net/cudnn_lstm/opaque_kernel"}
    close(computed(graph_def, 1 + len(states), INPUTS, variables=saved), made.answers(INPUTS, states))


@pytest.mark.parametrize(
    "op, mode, count, directions",
    [
        ("CudnnRNN", "lstm", 2, 2),
        ("CudnnRNNV2", "gru", 1, 1),
        ("CudnnRNNV3", "lstm", 1, 1),
        ("CudnnRNNV3", "gru", 2, 2),
    ],
)
def test_an_op_that_is_kept_for_gpus(op, mode, count, directions):
    """CPUs run the loops, and GPUs the op; TensorFlow chooses."""
    graph_def, edit, answers = converted(op, mode, count, directions, keeps_cudnn=True)
    assert "kept for GPUs" in edit.text
    close(computed(graph_def, len(answers), INPUTS), answers)
    on_cpu, on_gpu = chosen(graph_def, "CPU"), chosen(graph_def, "GPU")
    assert "Enter" in on_cpu and "CudnnRNNV3" not in on_cpu
    assert "CudnnRNNV3" in on_gpu and "Enter" not in on_gpu


@pytest.mark.parametrize("op", ["CudnnRNN", "CudnnRNNV2"])
def test_an_op_without_lengths_gets_the_number_of_steps(op):
    """CudnnRNN and CudnnRNNV2 fail where TensorFlow was built with cuDNN 9."""
    graph_def, _, _ = converted(op, "lstm", 1, 1, keeps_cudnn=True)
    (function,) = [f for f in graph_def.library.function if f.signature.name.endswith("_on_gpu")]
    body = function_def_to_graph(function)
    (kept,) = [operation for operation in body.get_operations() if operation.type in CUDNN_RNNS]
    assert kept.type == "CudnnRNNV3"
    lengths, inputs = kept.inputs[4].name, body.inputs[0].name
    with tf.Graph().as_default(), tf.Session() as session:  # without the op itself, of which CPUs have no kernel
        tf.import_graph_def(pruned(body.as_graph_def(), [kept.inputs[4].op.name]), name="")
        assert session.run(lengths, {inputs: INPUTS}).tolist() == [6, 6, 6]


def test_an_op_that_is_kept_takes_batches_of_other_sizes_than_in_the_training():
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [6, 2, 4], name="x")
        first = tf.fill(tf.stack([1, tf.raw_ops.Shape(input=x)[1], 5]), 0.0)
        how = {"input_h": first, "input_c": first, "params": tf.constant(LSTM.buffer())}
        tf.identity(tf.raw_ops.CudnnRNN(input=x, **how)[0], name="output_0")
    graph_def, _ = in_cpu_ops(graph.as_graph_def(), keeps_cudnn=True)
    (placeholder,) = [node for node in graph_def.node if node.op == "Placeholder"]
    placeholder.attr["shape"].shape.CopyFrom(tf.TensorShape([None, None, 4]).as_proto())
    states = [np.zeros_like(state) for state in LSTM.states(3)]
    close(computed(graph_def, 1, INPUTS), LSTM.answers(INPUTS, states)[:1])


def test_two_ops_are_kept():
    """Their functions have names of their own, where the names of the nodes differ in a slash alone."""
    with tf.Graph().as_default() as graph:
        for number, name in enumerate(("a/b", "a_b")):
            made = layers("lstm", 4, 5 + number)
            given = network("CudnnRNN", made, made.states(3))
            found = tf.import_graph_def(given, name=name, return_elements=["rnn:0"])
            tf.identity(found[0], name=f"output_{number}")
    graph_def, edits = in_cpu_ops(graph.as_graph_def(), keeps_cudnn=True)
    assert len(edits) == 2 and len({f.signature.name for f in graph_def.library.function}) == 4
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(graph_def, name="")
        found = session.run(["output_0:0", "output_1:0"], {"a/b/x:0": INPUTS, "a_b/x:0": INPUTS})
    for number, one in enumerate(found):
        made = layers("lstm", 4, 5 + number)
        close([one], made.answers(INPUTS, made.states(3))[:1])


def test_an_op_that_is_kept_computes_no_gradient():
    """Keras' CuDNNLSTM has is_training=True in inference too."""
    graph_def, _ = in_cpu_ops(network("CudnnRNN", LSTM, LSTM.states(3), is_training=True), keeps_cudnn=True)
    (node,) = [node for f in graph_def.library.function for node in f.node_def if node.op == "CudnnRNNV3"]
    assert not node.attr["is_training"].b and node.attr["rnn_mode"].s == b"lstm"


@pytest.mark.parametrize("mode, directions", [("lstm", 2), ("gru", 1), ("gru", 2)])
def test_parameters_of_contrib_are_laid_out_for_gpus(mode, directions):
    """As cuDNN lays them out, but with the sum of two biases where cuDNN adds them anyway."""
    made = layers(mode, 4, 5, 2, directions)
    states, saved = made.states(3), made.contrib("net/")
    given = network("CudnnRNN", made, states, variable("net/cudnn/opaque_kernel"))
    graph_def, _ = in_cpu_ops(given, {name: value.shape for name, value in saved.items()}, keeps_cudnn=True)
    found, *answers = computed_with_buffer(graph_def, 1 + len(states), INPUTS, saved)
    close(answers, made.answers(INPUTS, states))
    expected, gates = made.buffer(), 4 if mode == "lstm" else 3
    assert found.shape == expected.shape
    start = found.size - 2 * directions * 2 * gates * 5
    np.testing.assert_array_equal(found[:start], expected[:start])
    biases = [values[start:].reshape(2 * directions, 2, gates, 5) for values in (found, expected)]
    np.testing.assert_allclose(*[one.sum(1) for one in biases], rtol=0, atol=1e-6)
    if mode == "gru":
        np.testing.assert_array_equal(*[one[:, :, 2] for one in biases])


def build(variables, options):
    """As the function of a user: a training's variable of the buffer, which has no shape."""
    x = tf.placeholder(tf.float32, [None, None, 4], name="x")
    how = {"rnn_mode": "gru", "input_h": tf.zeros([2, tf.shape(x)[0], 5]), "input_c": 0.0}
    params = variable("cudnn_gru/opaque_kernel")()
    tf.raw_ops.CudnnRNNParamsToCanonical(
        num_layers=2, num_units=5, input_size=4, params=params, num_params=12, rnn_mode="gru"
    )
    y = tf.raw_ops.CudnnRNN(input=tf.transpose(x, [1, 0, 2]), params=params, **how)[0]
    return {"x": x, "y": tf.transpose(y, [1, 0, 2])}


def test_a_buffer_in_the_checkpoint(run, tmp_path):
    """With a function of one's own; the part of its graph that needs a GPU is gone."""
    made = layers("gru", 4, 5, 2)
    write_checkpoint(tmp_path / "model", {"cudnn_gru/opaque_kernel": made.buffer()})
    graph = ["--graph", f"{__name__}:build", "--checkpoint", tmp_path / "model"]
    result = run("export", *graph, "--input", "x", "--output", "y", "-o", tmp_path / "base")
    assert result.exit_code == 0, result.output
    assert "CudnnRNN (GRU, 2 layers of 5 units) converted to loops" in result.output
    states = [np.zeros_like(state) for state in made.states(3)]
    found = asked(tmp_path / "base" / "1", x=np.swapaxes(INPUTS, 0, 1))["y"]
    close([np.swapaxes(found, 0, 1)], made.answers(INPUTS, states)[:1])
    assert "servers with a GPU" not in result.output


def test_a_version_for_servers_with_a_gpu(run, tmp_path):
    """It answers on a CPU as well, and holds the op for GPUs."""
    made = layers("gru", 4, 5, 2)
    write_checkpoint(tmp_path / "model", {"cudnn_gru/opaque_kernel": made.buffer()})
    graph = ["--graph", f"{__name__}:build", "--checkpoint", tmp_path / "model", "--for-device", "gpu"]
    result = run("export", *graph, "--input", "x", "--output", "y", "-o", tmp_path / "base")
    assert result.exit_code == 0, result.output
    assert "CudnnRNN (GRU, 2 layers of 5 units) kept for GPUs; CPUs run it as loops" in result.output
    version = tmp_path / "base" / "1"
    states = [np.zeros_like(state) for state in made.states(3)]
    found = asked(version, x=np.swapaxes(INPUTS, 0, 1))["y"]
    close([np.swapaxes(found, 0, 1)], made.answers(INPUTS, states)[:1])
    (meta_graph,) = parse_saved_model(version).meta_graphs
    functions = {function.signature.name: function for function in meta_graph.graph_def.library.function}
    assert {name: any(node.op == "CudnnRNNV3" for node in one.node_def) for name, one in functions.items()} == {
        "CudnnRNN_0_on_cpu": False,
        "CudnnRNN_0_on_gpu": True,
    }
    for device in ("cpu", "gpu"):
        assert run("verify", version, "--for-device", device).exit_code == 0
        checked = run("doctor", version, "--serving", "2.19", "--for-device", device)
        assert checked.exit_code == 0, checked.output


def refused(made=LSTM, variables=(), num_proj=0, **how):
    with pytest.raises(NotServable) as caught:
        given = network("CudnnRNNV3", made, made.states(3), lengths=LENGTHS, **how)
        if num_proj:  # an attribute that 1.14 lacks
            next(node for node in given.node if node.name == "rnn").attr["num_proj"].i = num_proj
        in_cpu_ops(given, dict(variables))
    (problem,) = caught.value.problems
    assert (problem.code, problem.where, problem.op) == ("no-kernel", "rnn", "CudnnRNNV3")
    return problem.found.partition("can't be converted to a loop: ")[2]


@pytest.mark.parametrize(
    "how, reason",
    [
        ({"rnn_mode": "rnn_tanh"}, "rnn_mode rnn_tanh; lstm and gru can be"),
        ({"input_mode": "skip_input"}, "input_mode skip_input; linear_input can be"),
        ({"num_proj": 3}, "num_proj 3, a projection"),
        ({"dropout": 0.5}, "its dropout is on: build the graph for inference (is_training=False)"),
        ({"dtype": tf.float16}, "float16; float32 and float64 can be"),
        ({"params": lambda: tf.ones([7])}, "its buffer of 7 numbers is not that of LSTM, 1 layer of 5 units"),
        (
            {"params": variable("a/opaque_kernel")},
            "the checkpoint lacks a/opaque_kernel, and its parts, such as"
            " a/rnn/multi_rnn_cell/cell_0/cudnn_compatible_lstm_cell/kernel",
        ),
    ],
)
def test_what_cannot_be_converted_is_refused(how, reason):
    assert refused(**how) == reason


def test_misshapen_parameters_are_refused():
    shapes = {name: value.shape for name, value in layers("lstm", 4, 6).contrib().items()}
    found = refused(params=variable("opaque_kernel"), variables=shapes)
    assert found.endswith("cudnn_compatible_lstm_cell/kernel has shape [10, 24], expected [10, 20]")


def test_one_network_of_the_checkpoint_is_not_taken_for_two():
    shapes = {name: value.shape for name, value in LSTM.contrib().items()}
    with tf.Graph().as_default() as graph:
        for name in ("a", "b"):
            given = network("CudnnRNN", LSTM, LSTM.states(3), variable("opaque_kernel"))
            tf.import_graph_def(given, name=name)
    with pytest.raises(NotServable) as caught:
        in_cpu_ops(graph.as_graph_def(), shapes)
    assert "once, for a/opaque_kernel and for b/opaque_kernel" in caught.value.problems[0].found
