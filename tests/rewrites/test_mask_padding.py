"""Each line of a padded batch gets the answer that it gets alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ckpt2saved.graph.tf1 import tf
from ckpt2saved.rewrites.to_signatures import in_cpu_ops
from ckpt2saved.sources.networks import build_network, layers
from tests.support import recurrent
from tests.support.checkpoints import crnn_shapes
from tests.support.padded_batches import CHANNELS, HEIGHT, Network, pictures

SAME_ENOUGH = 1e-5


def weights(name, *shape):
    return tf.get_variable(name, shape, use_resource=False)


def crnn(shapes, **network):
    with tf.Graph().as_default() as graph:
        tensors = build_network("crnn", shapes, {})
    outputs, lengths = [tensors["logits"].name], ["input_batch_size:0"]
    return Network(graph.as_graph_def(), "input_data:0", outputs, lengths, **network)


@pytest.fixture(scope="module")
def small_crnn():
    return crnn(crnn_shapes())


@pytest.mark.parametrize("lines", [1, 2, 5, 64])
def test_crnn(small_crnn, lines):
    random = np.random.RandomState(lines)
    widths = random.randint(8, 800 if lines < 10 else 200, lines)
    assert small_crnn.masked.is_proven
    made = pictures(random, widths, height=32)
    assert small_crnn.difference(made, line_axis=1, time_axis=0) < SAME_ENOUGH
    if lines > 1:  # without masks
        assert small_crnn.difference(made, line_axis=1, time_axis=0, masked=False) > 0.01


def test_the_example():
    """A trained network, whose logits are up to 21 away where the batch is padded and nothing is masked."""
    prefix = tf.train.latest_checkpoint(str(Path(__file__).resolve().parents[2] / "examples" / "crnn" / "checkpoint"))
    reader = tf.train.NewCheckpointReader(prefix)
    shapes = {name: tuple(shape) for name, shape in reader.get_variable_to_shape_map().items()}
    network = crnn(shapes, fill=lambda name, _: reader.get_tensor(name))
    random = np.random.RandomState(1)
    channels = shapes["shadow/conv1/W"][2]
    made = [picture * 255 for picture in pictures(random, random.randint(8, 300, 16), height=32, channels=channels)]
    assert network.difference(made, line_axis=1, time_axis=0) < SAME_ENOUGH
    assert network.difference(made, line_axis=1, time_axis=0, masked=False) > 0.1


def convolution(size, stride, padding, dilation=1):
    def build(x):
        kernel = weights("kernel", 3, size, int(x.shape[3]), 4)
        # What follows lets the next convolution see what is behind the end of a line.
        x = tf.nn.conv2d(x, kernel, [1, 1, stride, 1], padding, dilations=[1, 1, dilation, 1])
        return tf.nn.bias_add(x, weights("bias", 4))

    return build


def depthwise(size, stride, padding):
    def build(x):
        kernel = weights("kernel", size, size, int(x.shape[3]), 2)
        return tf.nn.depthwise_conv2d(x, kernel, [1, stride, stride, 1], padding) + weights("bias", 6)

    return build


def max_pool(size, stride, padding):
    return lambda x: tf.nn.max_pool(x, [1, 2, size, 1], [1, 2, stride, 1], padding)


def average_pool(size, stride, padding):
    return lambda x: tf.nn.avg_pool(x, [1, 2, size, 1], [1, 2, stride, 1], padding)


def twice(layer):
    """A layer, an activation that makes no 0 of 0, and another window that sees behind the end of the line."""

    def build(x):
        with tf.variable_scope("first"):
            x = tf.nn.sigmoid(layer(x) - 0.5)
        with tf.variable_scope("second"):
            return convolution(3, 1, "SAME")(x)

    return build


LAYERS = {
    f"{kind.__name__} {size} stride {stride} {padding}": (kind, size, stride, padding)
    for kind in (convolution, depthwise, max_pool, average_pool)
    for size in (2, 3, 5)
    for stride in (1, 2, 3)
    for padding in ("SAME", "VALID")
}


@pytest.mark.parametrize("layer", sorted(LAYERS))
def test_windows(layer):
    kind, size, stride, padding = LAYERS[layer]
    network = Network.built(twice(kind(size, stride, padding)))
    if kind is average_pool and not network.masked.is_proven:
        assert padding == "SAME" and len({max(size - rest, 0) // 2 for rest in range(1, stride + 1)}) > 1
        return
    assert network.masked.is_proven, network.masked.notes
    random = np.random.RandomState(len(layer))
    widths = [*random.randint(8, 40, 7), 20]
    made = pictures(random, widths)
    assert network.difference(made, time_axis=2) < SAME_ENOUGH
    assert network.difference(made, time_axis=2, masked=False) > 0.001


@pytest.mark.parametrize("seed", range(8))
def test_networks_of_random_layers(seed):
    random = np.random.RandomState(seed)

    def build(x):
        for number in range(4):
            kind = [convolution, depthwise, max_pool, average_pool][random.randint(4)]
            size, stride, padding = random.randint(1, 6), random.randint(1, 3), ["SAME", "VALID"][random.randint(2)]
            if kind is average_pool:
                stride = 1  # elsewhere it depends on the width of the batch where the windows begin
            with tf.variable_scope(f"layer{number}"):
                x = kind(size, stride, padding)(tf.pad(x, [[0, 0], [2, 2], [0, 0], [0, 0]]))[..., :3]
                x = [tf.nn.relu, tf.nn.sigmoid, tf.nn.elu, tf.identity][random.randint(4)](x)
        return x

    network = Network.built(build)
    assert network.masked.is_proven, network.masked.notes
    lines = [1, 3, 17, 64][random.randint(4)]
    made = pictures(random, random.randint(70, 800 if lines < 10 else 150, lines))
    assert network.difference(made, time_axis=2) < SAME_ENOUGH


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("size", [2, 3])
def test_dilation(size, padding):
    network = Network.built(twice(convolution(size, 1, padding, dilation=3)))
    assert network.masked.is_proven
    made = pictures(np.random.RandomState(size), [9, 20, 31])
    assert network.difference(made, time_axis=2) < SAME_ENOUGH


# Recurrent layers.


def columns(x):
    """Feature columns [time, batch, depth], of two pixels each, that are not 0 behind the end of a line."""
    x = tf.nn.sigmoid(convolution(3, 1, "SAME")(x))
    x = tf.nn.max_pool(x, [1, 2, 2, 1], [1, 2, 2, 1], "VALID")
    x = tf.transpose(x, [2, 0, 1, 3])
    return tf.reshape(x, [tf.shape(x)[0], -1, 3 * 4])


def lstm_weights(depth, units=5):
    shapes = {}
    for direction in ("fw", "bw"):
        shapes[f"rnn/{direction}/cell/kernel"] = (depth + units, 4 * units)
        shapes[f"rnn/{direction}/cell/bias"] = (4 * units,)
    return layers.variables(shapes)


def without_lengths(x):
    """The backward direction starts in the padding."""
    return layers.bidirectional_lstm(columns(x), lstm_weights(12), "rnn", "cell")


def lengths_of_the_batch(x):
    """All lines are said to be as long as the batch is wide, as a training with one width has it."""
    sequence = columns(x)
    lengths = tf.fill([tf.shape(x)[0]], tf.shape(x)[2] // 2)
    return layers.bidirectional_lstm(sequence, lstm_weights(12), "rnn", "cell", lengths)


def stacked(x):
    """What the first layer has behind the end of a line is seen by none of the following."""
    sequence = without_lengths(x)
    with tf.variable_scope("second"):
        kernel = weights("kernel", 1, 3, 10, 6)
    sequence = tf.nn.conv2d(tf.expand_dims(tf.transpose(sequence, [1, 0, 2]), 1), kernel, [1] * 4, "SAME")
    sequence = tf.transpose(tf.squeeze(sequence, axis=1), [1, 0, 2])
    shapes = {
        f"second/{name.op.name}": name.shape.as_list() for name in tf.global_variables() if "cell" in name.op.name
    }
    shapes = {name: [11, 20] if name.endswith("kernel") else shape for name, shape in shapes.items()}
    more = {name[len("second/") :]: variable for name, variable in layers.variables(shapes).items()}
    return layers.bidirectional_lstm(sequence, more, "rnn", "cell")


def lengths_of_pictures(x):
    """The graph takes the widths of pictures, and divides them itself."""
    widths = tf.placeholder(tf.int64, [None], name="lengths")
    sequence = columns(x)
    return layers.bidirectional_lstm(sequence, lstm_weights(12), "rnn", "cell", widths // 2)


def test_widths_that_the_graph_divides():
    network = Network.built(lengths_of_pictures, lengths=["lengths:0"], divided=2)
    check_sequences(network)


@pytest.mark.parametrize("divisor", [3, 4])
def test_widths_that_the_graph_divides_otherwise(divisor):
    """The steps of a line have to be those of its columns, whatever is fed."""

    def build(x):
        widths = tf.placeholder(tf.int64, [None], name="lengths")
        return layers.bidirectional_lstm(columns(x), lstm_weights(12), "rnn", "cell", widths // divisor)

    notes = Network.built(build, lengths=["lengths:0"]).masked.notes
    assert [note.found for note in notes] == ["its lengths are not those of the lines"]


@pytest.mark.parametrize("build", [without_lengths, lengths_of_the_batch, stacked])
def test_recurrent_layers(build):
    network = Network.built(build)
    check_sequences(network)


def check_sequences(network):
    """Every own step of lines of one to thirty steps, and that there is something to see without masks."""
    assert network.masked.is_proven, network.masked.notes
    made = pictures(np.random.RandomState(1), [9, 60, 31, 2, 45])
    assert network.difference(made, line_axis=1, time_axis=0) < SAME_ENOUGH
    assert network.difference(made, line_axis=1, time_axis=0, masked=False) > 0.001


@pytest.mark.parametrize("keeps_cudnn", [False, True])
def test_layers_of_cudnn(keeps_cudnn):
    """The loops in the place of the op; also where GPUs run the op elsewhere in the version, which can't be masked."""
    made = recurrent.layers("lstm", 12, 5, 2, directions=2)
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, HEIGHT, None, CHANNELS], name="x")
        steps = columns(x)
        first = tf.zeros([4, tf.shape(steps)[1], 5])
        how = {"input_h": first, "input_c": first, "params": tf.constant(made.buffer()), "direction": "bidirectional"}
        tf.identity(tf.raw_ops.CudnnRNN(input=steps, **how)[0], name="y")
    graph_def, _ = in_cpu_ops(graph.as_graph_def(), keeps_cudnn=keeps_cudnn)
    check_sequences(Network(graph_def))


def dynamic_rnn(x, lengths=None):
    with tf.variable_scope("rnn"):
        cells = [tf.nn.rnn_cell.LSTMCell(5), tf.nn.rnn_cell.GRUCell(4)]
        both, _ = tf.nn.bidirectional_dynamic_rnn(*cells, columns(x), lengths, dtype=tf.float32, time_major=True)
    return tf.concat(both, axis=2)


def dynamic_rnn_with_lengths(x):
    return dynamic_rnn(x, tf.fill([tf.shape(x)[0]], tf.shape(x)[2] // 2))


def batch_major(x):
    """And a dense layer at each step."""
    with tf.variable_scope("rnn"):
        cell = tf.nn.rnn_cell.MultiRNNCell([tf.nn.rnn_cell.BasicLSTMCell(5) for _ in range(2)])
        sequence, _ = tf.nn.dynamic_rnn(cell, tf.transpose(columns(x), [1, 0, 2]), dtype=tf.float32)
    sequence = tf.layers.dense(sequence, 7, activation=tf.nn.tanh)
    return tf.transpose(sequence, [1, 0, 2])


def keras_rnn(x):
    sequence = tf.transpose(columns(x), [1, 0, 2])
    sequence.set_shape([None, None, 12])
    layer = tf.keras.layers.Bidirectional(tf.keras.layers.LSTM(5, return_sequences=True))
    sequence = layer(sequence)
    sequence = tf.keras.layers.Dense(6, activation="softmax")(sequence)
    return tf.transpose(sequence, [1, 0, 2])


@pytest.mark.skipif(not tf.VERSION.startswith("1."), reason="today's TensorFlow refuses the cells")
@pytest.mark.parametrize("build", [dynamic_rnn, dynamic_rnn_with_lengths, batch_major, keras_rnn])
def test_recurrent_layers_of_tensorflow_1(build):
    with tf.variable_scope(tf.get_variable_scope(), use_resource=False):
        network = Network.built(build)
    check_sequences(network)


# More ops, and those behind which nothing can be proven.


def residual(x):
    """Two paths of the same widths, joined by addition and by channels."""
    with tf.variable_scope("one"):
        one = convolution(3, 2, "SAME")(x)
    with tf.variable_scope("other"):
        other = convolution(1, 2, "SAME")(x)
    return tf.concat([tf.nn.relu(one + other), tf.nn.elu(one)], axis=3)


def padded_by_hand(x):
    """As PyTorch and Caffe pad."""
    return convolution(3, 2, "VALID")(tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]]))


def fused_batch_norm(x):
    parts = [weights(name, 3) for name in ("gamma", "beta", "mean", "moving_variance")]
    return convolution(3, 1, "SAME")(tf.nn.fused_batch_norm(x, *parts, is_training=False)[0])


def without_first_steps(x):
    """Keras' example of a CRNN leaves out two."""
    return convolution(3, 1, "SAME")(x)[:, :, 2:-1, :]


def squeezed_and_excited(x):
    """A mean over the height and a product of all channels at a column."""
    gate = tf.reduce_mean(x, axis=1, keepdims=True)
    return x * tf.nn.sigmoid(convolution(3, 1, "SAME")(gate)[..., :3])


def scaled_by_each_column(x):
    """Where all is 0, as behind the end of a line, this is not a number."""
    return x / tf.reduce_max(tf.abs(x), axis=1, keepdims=True)


def turned_on_its_side(x):
    """Pictures as [batch, width, height, channels], which some trainings have."""
    x = tf.nn.conv2d(tf.transpose(x, [0, 2, 1, 3]), weights("kernel", 3, 2, 3, 4), [1, 2, 1, 1], "SAME")
    return tf.transpose(tf.nn.sigmoid(x), [0, 2, 1, 3])


@pytest.mark.parametrize(
    "build",
    [
        residual,
        padded_by_hand,
        fused_batch_norm,
        without_first_steps,
        squeezed_and_excited,
        scaled_by_each_column,
        turned_on_its_side,
    ],
)
def test_proven(build):
    network = Network.built(twice(build))
    assert network.masked.is_proven, network.masked.notes
    made = pictures(np.random.RandomState(1), [9, 40, 31, 5, 24])
    for padding in (7.0, 0.0, -1.0):
        assert network.difference(made, time_axis=2, padding=padding) < SAME_ENOUGH
    assert network.difference(made, time_axis=2, masked=False) > 0.001


@pytest.mark.parametrize("width", [20, 33])
def test_a_network_of_one_width_keeps_its_padding(width):
    """Its pictures are padded as in training; the steps of all lines are those of that width."""

    def build(x):
        x = tf.nn.max_pool(x, [1, 2, 2, 1], [1, 2, 2, 1], "SAME")
        x = tf.reshape(tf.transpose(x, [0, 2, 1, 3]), [-1, (width + 1) // 2, 3 * CHANNELS])
        return layers.bidirectional_lstm(tf.transpose(x, [1, 0, 2]), lstm_weights(9), "rnn", "cell")

    network = Network.built(build, sizes=(None, HEIGHT, width, CHANNELS))
    assert network.masked.is_proven
    assert not network.masked.edits
    assert network.steps(7) == network.steps(width) == (width + 1) // 2


def instance_norm(x):
    mean, variance = tf.nn.moments(x, [1, 2], keep_dims=True)
    return (x - mean) * tf.rsqrt(variance + 1e-3)


def mean_over_the_width(x):
    return x - tf.reduce_mean(x, axis=2, keepdims=True, name="over_the_width")


def softmax_over_the_width(x):
    x = tf.transpose(x, [0, 1, 3, 2])
    return tf.transpose(x * tf.nn.softmax(x, name="over_the_width"), [0, 1, 3, 2])


def attention(x):
    x = tf.reduce_mean(x, axis=1)
    scores = tf.matmul(x, x, transpose_b=True, name="between_columns")
    return tf.matmul(tf.nn.softmax(scores), x)


def all_columns_at_once(x):
    return tf.matmul(
        tf.reshape(x, [tf.shape(x)[0], -1]), tf.placeholder_with_default(tf.ones([4, 5]), [None, 5]), name="dense"
    )


def lines_in_a_row(x):
    return tf.reshape(tf.reduce_mean(x, axis=[1]), [-1, CHANNELS])


def scaled_by_the_batch(x):
    return x / tf.reduce_max(x, axis=0, keepdims=True, name="over_the_batch")


def scaled_by_the_width(x):
    return tf.divide(x, tf.cast(tf.shape(x)[2], tf.float32), name="by_the_width")


def mirrored(x):
    return tf.pad(x, [[0, 0], [0, 0], [1, 1], [0, 0]], mode="REFLECT", name="mirrored")


def last_state(x):
    sequence = without_lengths(x)
    return tf.identity(sequence[-1], name="last")


REFUSED = {
    instance_norm: ("moments/mean", "it reduces the columns of a padded batch"),
    mean_over_the_width: ("over_the_width", "it reduces the columns of a padded batch"),
    softmax_over_the_width: ("over_the_width", "it normalises over the width"),
    attention: ("between_columns", "it multiplies columns with each other, as attention does"),
    all_columns_at_once: ("dense", "it adds up columns or lines"),
    lines_in_a_row: ("y", "its lines have no axis of their own"),
    scaled_by_the_batch: ("over_the_batch", "it mixes lines"),
    scaled_by_the_width: ("by_the_width", "it computes with the width of the batch, or the number of its lines"),
    mirrored: ("mirrored", "what it puts behind the end of a line depends on the width of the batch"),
    last_state: ("strided_slice", "it takes one column or line"),
}


@pytest.mark.parametrize("build", sorted(REFUSED, key=str))
def test_not_proven(build):
    """The node behind which an answer may depend on other lines, and the reason."""
    where, reason = REFUSED[build]
    notes = Network.built(build).masked.notes
    assert [note.code for note in notes] == ["depends-on-batch"]
    assert where in notes[0].where
    assert notes[0].found == reason
