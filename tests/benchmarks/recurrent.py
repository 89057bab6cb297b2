"""Measures recurrent layers with products before the loop and masks behind it, beside the same layers as they were.

Unrolled layers have 64 steps; their products are computed before the first one.
The last rows are loops that a layer of cuDNN became, whose weights are cut out of its buffer before or for each request.

python -m tests.benchmarks.recurrent [--rounds N] [--threads N] [--only TEXT] [--gain-of REWRITE]

Each network is run in turns in one process: a line of ratios of time, before / after, for each batch; ends with 1 where one
is below its limit. With --gain-of "before" is after all other rewrites. TF_ENABLE_ONEDNN_OPTS=0 or 1 in the environment chooses the kernels.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time

import numpy as np

from ckpt2saved.graph.graph_def import pruned
from ckpt2saved.graph.tf1 import tf, v1_control_flow
from ckpt2saved.rewrites.compute_once import ComputedOnce, ComputeOnce
from ckpt2saved.rewrites.context import Context
from ckpt2saved.rewrites.hoist_products import HoistProducts, ProductsHoisted
from ckpt2saved.rewrites.hoist_unrolled import HoistUnrolled
from ckpt2saved.rewrites.merge_products import MergeProducts
from ckpt2saved.rewrites.move_biases import MoveBiases
from ckpt2saved.rewrites.rewrite import apply
from ckpt2saved.rewrites.to_signatures import in_cpu_ops
from ckpt2saved.rewrites.trim_loops import TrimLoops

DEPTH, HIDDEN, STEPS = 512, 256, 64
REWRITES = (MergeProducts(), HoistProducts(), HoistUnrolled(), MoveBiases(), TrimLoops())
LIMITS = {1: 1.5, 16: 0.98}  # of the layers alone, by batch
NEVER_BELOW = 0.98
FILTERS = ((64, (2, 2)), (128, (2, 2)), (256, None), (256, (2, 1)), (512, None), (512, (2, 1)), (512, (2, 1)))


def main() -> None:
    """Measure, print, and say by the exit code whether the limits hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="how often each batch is measured (9)")
    parser.add_argument("--threads", type=int, default=0, help="intra-op and inter-op threads (TensorFlow's default)")
    parser.add_argument("--only", default="", help="measure only the layers with this in their name")
    names = [rewrite.name for rewrite in REWRITES]
    parser.add_argument("--gain-of", choices=names, metavar="REWRITE", help=f"what this one brings: {', '.join(names)}")
    arguments = parser.parse_args()
    print(f"TensorFlow {tf.VERSION}, TF_ENABLE_ONEDNN_OPTS={os.environ.get('TF_ENABLE_ONEDNN_OPTS', '')}")
    print("two bidirectional layers | part | batch | before, ms | after, ms | before / after (at least)")
    failed = False
    layers, network = ("layers", "features", [STEPS, DEPTH]), ("whole network", "x", [32, 256, 3])
    rows = [*LAYERS.items(), *([] if arguments.gain_of else [("cuDNN's buffer, 1 layer", None)])]
    for name, layer in [row for row in rows if arguments.only in row[0]]:
        for part, given, shape in (layers, network) if layer else (layers,):
            threads, gain = arguments.threads, arguments.gain_of
            before, after = sessions(layer, threads, gain) if layer else sessions_of_cudnn(threads)
            for batch, least in LIMITS.items():
                value = np.random.RandomState(batch).uniform(-1, 1, [batch, *shape]).astype("float32")
                calls = [session.make_callable("y:0", [given + ":0"]) for session in (before, after)]
                rounds = arguments.rounds * (8 if batch == 1 else 1)  # short runs vary more
                times = [[seconds(call, value) for call in calls] for _ in range(rounds + 1)][1:]
                ratio = statistics.median(first / second for first, second in times)
                limit = least if layer and part == "layers" else NEVER_BELOW
                columns = [f"{1e3 * statistics.median(column):.1f}" for column in zip(*times)]
                print(name, part, batch, *columns, f"{ratio:.2f} ({limit})", sep=" | ", flush=True)
                failed |= ratio < limit
    sys.exit(1 if failed else 0)


def seconds(call, value):
    """How long a call takes."""
    start = time.perf_counter()
    call(value)
    return time.perf_counter() - start


def sessions(layer, threads, gain_of=None):
    """Sessions of a network as it is, or without one rewrite, and after all, with the same variables."""
    with tf.Graph().as_default() as graph, v1_control_flow():
        with tf.variable_scope(tf.get_variable_scope(), use_resource=False):
            x = tf.placeholder(tf.float32, [None, 32, None, 3], name="x")
            sequence = features(x)
            for number in range(2):
                with tf.variable_scope(f"layer{number}"):
                    sequence = layer(sequence)
            y = tf.matmul(tf.reshape(sequence, [-1, 2 * HIDDEN]), weights("logits", 2 * HIDDEN, 37))
            tf.reshape(y, [tf.shape(sequence)[0], -1, 37], name="y")
        tf.variables_initializer(tf.global_variables(), name="init")
    original = pruned(graph.as_graph_def(), ["y", "init"])
    context = Context.of(original, ["y:0", "init:0"], ["x:0"])
    found = apply(REWRITES, context, "refused")
    assert len(found.edits_of(ProductsHoisted)) in (4, 8), found.edits  # loops, or kernels of unrolled layers
    made = []
    config = tf.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads)
    others = [rewrite for rewrite in REWRITES if rewrite.name != gain_of]
    before = apply(others, context, "refused").graph_def() if gain_of else original
    for graph_def in (before, found.graph_def()):
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(graph_def, name="")
            made.append(tf.Session(graph=graph, config=config))
            made[-1].run("init")
    return made


def sessions_of_cudnn(threads):
    """Sessions of a bidirectional layer of cuDNN as loops, with the weights in its buffer, and computed once."""
    size = 2 * 4 * HIDDEN * (DEPTH + HIDDEN + 2)
    with tf.Graph().as_default() as graph, v1_control_flow():
        x = tf.placeholder(tf.float32, [None, None, DEPTH], name="features")
        buffer = tf.get_variable("buffer", [size], use_resource=False)
        state = tf.zeros([2, tf.shape(x)[0], HIDDEN])
        given = {"input": tf.transpose(x, [1, 0, 2]), "input_h": state, "input_c": state, "params": buffer}
        made = tf.raw_ops.CudnnRNN(**given, rnn_mode="lstm", direction="bidirectional", is_training=False)
        tf.transpose(made[0], [1, 0, 2], name="y")
    loops, _ = in_cpu_ops(graph.as_graph_def())
    found = apply([ComputeOnce()], Context.of(loops, ["y:0"], ["features:0"]), "refused")
    (edit,) = found.edits_of(ComputedOnce)
    value = np.random.RandomState(3).uniform(-0.05, 0.05, size).astype("float32")
    made = []
    config = tf.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads)
    for graph_def, names in ((loops, ["buffer"]), (found.graph_def(), sorted(edit.values))):
        with tf.Graph().as_default() as graph:
            computed = {name: derived.computed({"buffer": tf.constant(value)}) for name, derived in edit.values.items()}
            computed["buffer"] = tf.constant(value)
            tf.import_graph_def(graph_def, name="")
            variables = [graph.get_tensor_by_name(name + ":0") for name in names]
            filled = [tf.raw_ops.Assign(ref=ref, value=computed[name]) for ref, name in zip(variables, names)]
            made.append(tf.Session(graph=graph, config=config))
            made[-1].run([one.op for one in filled])
    return made


def weights(name, *shape):
    """A variable."""
    return tf.get_variable(name, shape, initializer=tf.random_uniform_initializer(-0.05, 0.05, seed=len(name)))


def features(x):
    """The convolutions of a CRNN: [batch, 32, width, 3] to [batch, width / 4, 512]."""
    for number, (depth, pool) in enumerate(FILTERS):
        kernel = weights(f"convolution{number}", 3, 3, x.shape[-1], depth)
        x = tf.nn.relu(tf.nn.conv2d(x, kernel, [1] * 4, "SAME"))
        if pool:
            x = tf.nn.max_pool(x, [1, *pool, 1], [1, *pool, 1], "SAME")
    x = tf.squeeze(x, [1], name="features")
    x.set_shape([None, None, DEPTH])
    return x


def dynamic_rnn(step, states, with_lengths=False):
    """A bidirectional layer in the form that tf.nn.bidirectional_dynamic_rnn makes of a cell."""

    def direction(sequence, name):
        with tf.variable_scope(name):
            cell = step()
        steps, batch = tf.shape(sequence)[0], tf.shape(sequence)[1]
        arriving = tf.TensorArray(tf.float32, steps).unstack(sequence)

        nothing, lengths = tf.zeros([batch, HIDDEN]), tf.fill([batch], steps)

        def body(time, outputs, *state):
            new = cell(arriving.read(time), *state)
            output = new[0]
            if with_lengths:
                ended = time >= lengths
                output = select(ended, nothing, output)
                new = [select(ended, old, one) for old, one in zip(state, new)]
            return (time + 1, outputs.write(time, output), *new)

        start = (0, tf.TensorArray(tf.float32, steps), *[tf.zeros([batch, HIDDEN])] * states)
        made = tf.while_loop(lambda time, *_: time < steps, body, start, maximum_iterations=steps)[1].stack()
        made.set_shape([None, None, HIDDEN])
        return made

    def layer(x):
        x = tf.transpose(x, [1, 0, 2])
        both = [direction(x, "fw"), tf.reverse(direction(tf.reverse(x, [0]), "bw"), [0])]
        return tf.transpose(tf.concat(both, 2), [1, 0, 2])

    return layer


def select(condition, x, y):
    """Rows of one or the other tensor."""
    return tf.raw_ops.Select(condition=condition, x=x, y=y)


def static_rnn(step, states):
    """A bidirectional layer in the form that tf.nn.static_bidirectional_rnn makes of a cell."""

    def direction(entries, name):
        with tf.variable_scope(name):
            cell = step()
        state, outputs = [tf.zeros([tf.shape(entries[0])[0], HIDDEN])] * states, []
        for x in entries:
            state = cell(x, *state)
            outputs.append(state[0])
        return outputs

    def layer(x):
        entries = tf.unstack(x, STEPS, 1)
        both = zip(direction(entries, "fw"), direction(entries[::-1], "bw")[::-1])
        return tf.stack([tf.concat(pair, 1) for pair in both], 1)

    return layer


def basic_lstm():
    """BasicLSTMCell."""
    kernel, bias = weights("kernel", DEPTH + HIDDEN, 4 * HIDDEN), weights("bias", 4 * HIDDEN)

    def cell(x, h, c):
        i, j, f, o = tf.split(tf.nn.bias_add(tf.matmul(tf.concat([x, h], 1), kernel), bias), 4, 1)
        c = c * tf.sigmoid(f + 1.0) + tf.sigmoid(i) * tf.tanh(j)
        return tf.tanh(c) * tf.sigmoid(o), c

    return cell


def keras_lstm():
    """The LSTM of Keras on TensorFlow 2, which adds the bias to the sum of two products."""
    kernel, recurrent = weights("kernel", DEPTH, 4 * HIDDEN), weights("recurrent", HIDDEN, 4 * HIDDEN)
    bias = weights("bias", 4 * HIDDEN)

    def cell(x, h, c):
        i, f, j, o = tf.split(tf.nn.bias_add(tf.matmul(x, kernel) + tf.matmul(h, recurrent), bias), 4, 1)
        c = c * tf.sigmoid(f) + tf.sigmoid(i) * tf.tanh(j)
        return tf.tanh(c) * tf.sigmoid(o), c

    return cell


def gru():
    """GRUCell."""
    gates, bias = weights("gates", DEPTH + HIDDEN, 2 * HIDDEN), weights("gates_bias", 2 * HIDDEN)
    kernel, other = weights("kernel", DEPTH + HIDDEN, HIDDEN), weights("bias", HIDDEN)

    def cell(x, h):
        r, u = tf.split(tf.sigmoid(tf.nn.bias_add(tf.matmul(tf.concat([x, h], 1), gates), bias)), 2, 1)
        candidate = tf.tanh(tf.nn.bias_add(tf.matmul(tf.concat([x, r * h], 1), kernel), other))
        return (u * h + (1 - u) * candidate,)

    return cell


def of_keras(name, **how):
    """A bidirectional layer of TensorFlow's own Keras."""

    def layer(x):
        if how.get("unroll"):
            x.set_shape([None, STEPS, None])
        made = getattr(tf.keras.layers, name)(HIDDEN, return_sequences=True, **how)
        return tf.keras.layers.Bidirectional(made)(x)

    return layer


LAYERS = {
    "BasicLSTMCell": dynamic_rnn(basic_lstm, 2),
    "BasicLSTMCell, lengths": dynamic_rnn(basic_lstm, 2, with_lengths=True),
    "GRUCell": dynamic_rnn(gru, 1),
    "GRUCell, lengths": dynamic_rnn(gru, 1, with_lengths=True),
    "Keras's LSTM": dynamic_rnn(keras_lstm, 2),
    "BasicLSTMCell, unrolled": static_rnn(basic_lstm, 2),
    "GRUCell, unrolled": static_rnn(gru, 1),
}
if tf.VERSION.startswith("1."):  # today's Keras makes no graphs by itself
    LAYERS["Keras LSTM"] = of_keras("LSTM")
    LAYERS["Keras GRU"] = of_keras("GRU")
    LAYERS["Keras LSTM, unrolled"] = of_keras("LSTM", unroll=True)
    LAYERS["Keras GRU, reset after"] = of_keras("GRU", reset_after=True)


if __name__ == "__main__":
    main()
