"""The CRNN text-line recogniser: seven convolutions, stacked bidirectional LSTMs, CTC beam search."""

from __future__ import annotations

import re
from typing import Any, Dict, Mapping, Tuple

from ckpt2saved.graph.tf1 import tf
from ckpt2saved.sources.networks import layers
from ckpt2saved.sources.networks.decoding import decoded
from ckpt2saved.sources.networks.layout import Layout, Shape, last, require

HEIGHT = 32  # four poolings and the stride of the last convolution reduce it to the one row that the LSTMs read

DEFAULTS = {"scope": "shadow", "beam_width": 1, "merge_repeated": False}


def build(variables: Mapping[str, Shape], options: Mapping[str, Any]) -> Dict[str, tf.Tensor]:
    """The CRNN of a checkpoint with these `variables` (name -> shape), in inference mode, in the default graph.

    Options: `scope` of the variables (default shadow), `beam_width` (1) and `merge_repeated` (False) of the decoder.

    Placeholders: `input_data` float32 [batch, 32, width, channels], pixel values as in training; `input_batch_size`
    int32 [batch], the valid steps of each line, at most width // 4. Tensors: `logits` float32 [width // 4, batch,
    classes], the blank is the last class; the best path as the parts of a SparseTensor, `output_indices` int64
    [labels, 2], `output_values` int64 [labels], `output_shape` int64 [2], and densely, `ids` int64 [batch, width // 4]
    padded with -1, `lengths` int32 [batch], `score` float32 [batch], its log-probability.

    Raises CheckpointError with all missing or wrongly shaped variables.
    """
    scope = options["scope"]
    expected = layout(variables, options)
    require("crnn", expected, variables)
    weights = {name[len(scope) + 1 :]: variable for name, variable in layers.variables(expected).items()}

    channels = variables[scope + "/conv1/W"][2]
    images = tf.placeholder(tf.float32, [None, HEIGHT, None, channels], name="input_data")
    lengths = tf.placeholder(tf.int32, [None], name="input_batch_size")
    with tf.name_scope(scope):
        logits = _logits(_features(images, weights), lengths, weights)
    tensors = {"input_data": images, "input_batch_size": lengths, "logits": logits}
    tensors.update(decoded(logits, lengths, beam_width=options["beam_width"], merge_repeated=options["merge_repeated"]))
    return tensors


def layout(variables: Mapping[str, Shape], options: Mapping[str, Any]) -> Layout:
    """The expected variables of a CRNN; channels, classes, hidden units and number of LSTMs come from `variables`."""
    scope = options["scope"]
    kernels = [3, 3, 3, 3, 3, 3, 2]
    names = [f"{scope}/conv{number}/W" for number in range(1, 8)]
    channels = [last(variables, names[0], axis=2)] + [last(variables, name) for name in names]
    expected: Layout = {
        name: (size, size, channels[index], channels[index + 1])
        for index, (name, size) in enumerate(zip(names, kernels))
    }
    for norm, size in (("BatchNorm", channels[5]), ("BatchNorm_1", channels[6])):
        for name in ("beta", "gamma", "moving_mean", "moving_variance"):
            expected[f"{scope}/{norm}/{name}"] = (size,)

    depth, width = channels[7], None
    for cell in range(_lstm_layers(variables, scope)):
        for direction in ("fw", "bw"):
            name = f"{scope}/{_lstm_scope(cell)}/{direction}/basic_lstm_cell/"
            gates = last(variables, name + "bias")
            width = None if gates is None else gates // 4
            rows = None if depth is None or width is None else depth + width
            columns = None if width is None else 4 * width
            expected[name + "kernel"] = (rows, columns)
            expected[name + "bias"] = (columns,)
        depth = None if width is None else 2 * width
    expected[scope + "/LSTMLayers/w"] = (depth, last(variables, scope + "/LSTMLayers/w"))
    return expected


def _lstm_scope(cell: int) -> str:
    return f"LSTMLayers/stack_bidirectional_rnn/cell_{cell}/bidirectional_rnn"


def _lstm_layers(variables: Mapping[str, Shape], scope: str) -> int:
    """The number of cell_N in the checkpoint, including gaps; two, as in the original, if there is none."""
    pattern = re.compile(re.escape(scope) + r"/LSTMLayers/stack_bidirectional_rnn/cell_([0-9]+)/")
    cells = [int(match.group(1)) for match in map(pattern.match, variables) if match]
    return max(cells) + 1 if cells else 2


def _features(images: tf.Tensor, weights: Mapping[str, tf.Variable]) -> tf.Tensor:
    """The feature columns [batch, width // 4, channels] of `images` [batch, 32, width, channels]."""

    def convolution(features: tf.Tensor, number: int, strides: Tuple[int, int] = (1, 1)) -> tf.Tensor:
        return tf.nn.relu(layers.convolution(features, weights[f"conv{number}/W"], strides=strides))

    features = layers.max_pool(convolution(images, 1), (2, 2))
    features = layers.max_pool(convolution(features, 2), (2, 2))
    features = layers.max_pool(convolution(convolution(features, 3), 4), (2, 1))
    features = layers.batch_norm(convolution(features, 5), weights, "BatchNorm")
    features = layers.batch_norm(convolution(features, 6), weights, "BatchNorm_1")
    features = convolution(layers.max_pool(features, (2, 1)), 7, strides=(2, 1))
    return tf.squeeze(features, axis=1)


def _logits(features: tf.Tensor, lengths: tf.Tensor, weights: Mapping[str, tf.Variable]) -> tf.Tensor:
    """The logits [time, batch, classes] of feature columns [batch, time, channels]."""
    sequence = tf.transpose(features, [1, 0, 2])
    cell = 0
    while _lstm_scope(cell) + "/fw/basic_lstm_cell/kernel" in weights:
        sequence = layers.bidirectional_lstm(sequence, weights, _lstm_scope(cell), "basic_lstm_cell", lengths)
        cell += 1
    matrix = weights["LSTMLayers/w"]
    depth, classes = matrix.get_shape().as_list()
    steps, batch = tf.shape(sequence)[0], tf.shape(sequence)[1]
    logits = tf.matmul(tf.reshape(sequence, [-1, depth]), matrix)
    return tf.reshape(logits, [steps, batch, classes], name="logits")
