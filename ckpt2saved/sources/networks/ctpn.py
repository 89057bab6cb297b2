"""The CTPN text detector: VGG-16, a convolution, a bidirectional LSTM over each feature row, box and class heads."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional

from ckpt2saved.graph.tf1 import tf
from ckpt2saved.sources.networks import layers
from ckpt2saved.sources.networks.layout import Layout, Shape, last, require

# Mean red, green and blue of the training images of VGG-16, in 0..255 (Simonyan & Zisserman 2014, arXiv:1409.1556).
CHANNEL_MEANS = (123.68, 116.78, 103.94)

BLOCKS = (2, 2, 3, 3, 3)  # convolutions in each block of VGG-16 (configuration D of the same paper)

DEFAULTS: Dict[str, Any] = {}


def build(variables: Mapping[str, Shape], options: Mapping[str, Any]) -> Dict[str, tf.Tensor]:
    """The CTPN of a checkpoint with these `variables` (name -> shape), in inference mode, in the default graph.

    Placeholders: `input_image` float32 [batch, height, width, 3], RGB in 0..255; `input_im_info` float32 [batch, 3],
    each image's height, width and scale (the network itself does not read it; clients of the original send it).
    Tensors, with A anchors per position (from the checkpoint): `output_bbox_pred` float32 [batch, height // 16,
    width // 16, 4 * A], the box deltas; `output_cls_prob` float32 [batch, height // 16, width // 16 * A, 2], the
    probabilities of background and text.

    Raises CheckpointError with all missing or wrongly shaped variables.
    """
    expected = layout(variables, options)
    require("ctpn", expected, variables)
    weights = layers.variables(expected)
    anchors = variables["bbox_pred/weights"][-1] // 4

    images = tf.placeholder(tf.float32, [None, None, None, 3], name="input_image")
    im_info = tf.placeholder(tf.float32, [None, 3], name="input_im_info")
    features = _row_context(_vgg_features(images - tf.constant(CHANNEL_MEANS), weights), weights)
    boxes = _dense(features, weights, "bbox_pred")
    scores = _dense(features, weights, "cls_pred")
    size = tf.shape(scores)
    pairs = tf.reshape(scores, [size[0], size[1], size[2] * anchors, 2])
    return {
        "input_image": images,
        "input_im_info": im_info,
        "output_bbox_pred": tf.identity(boxes, name="output_bbox_pred"),
        "output_cls_prob": tf.nn.softmax(pairs, name="output_cls_prob"),
    }


def layout(variables: Mapping[str, Shape], options: Mapping[str, Any]) -> Layout:
    """The expected variables of a CTPN; channels, hidden units and anchors come from `variables`."""
    expected: Layout = {}
    depth: Optional[int] = 3
    for name in _vgg_convolutions() + ["Conv"]:
        channels = last(variables, name + "/weights")
        expected[name + "/weights"] = (3, 3, depth, channels)
        expected[name + "/biases"] = (channels,)
        depth = channels

    gates = last(variables, _lstm("fw") + "bias")
    hidden = None if gates is None else gates // 4
    rows = None if hidden is None or depth is None else depth + hidden
    for direction in ("fw", "bw"):
        columns = None if hidden is None else 4 * hidden
        expected[_lstm(direction) + "kernel"] = (rows, columns)
        expected[_lstm(direction) + "bias"] = (columns,)

    features = last(variables, "BiLSTM/weights")
    expected["BiLSTM/weights"] = (None if hidden is None else 2 * hidden, features)
    expected["BiLSTM/biases"] = (features,)
    boxes = last(variables, "bbox_pred/weights")
    anchors = None if boxes is None else boxes // 4
    for head, values in (("bbox_pred", 4), ("cls_pred", 2)):
        outputs = None if anchors is None else anchors * values
        expected[head + "/weights"] = (features, outputs)
        expected[head + "/biases"] = (outputs,)
    return expected


def _vgg_convolutions() -> List[str]:
    return [
        f"vgg_16/conv{block}/conv{block}_{number + 1}"
        for block, count in enumerate(BLOCKS, start=1)
        for number in range(count)
    ]


def _lstm(direction: str) -> str:
    return f"BiLSTM/bidirectional_rnn/{direction}/lstm_cell/"


def _vgg_features(images: tf.Tensor, weights: Mapping[str, tf.Variable]) -> tf.Tensor:
    """The features [batch, height // 16, width // 16, channels]."""
    features, block = images, 1
    for name in _vgg_convolutions() + ["Conv"]:
        if not name.startswith(f"vgg_16/conv{block}/") and name != "Conv":
            features, block = layers.max_pool(features, (2, 2)), block + 1
        features = tf.nn.relu(layers.convolution(features, weights[name + "/weights"], weights[name + "/biases"]))
    return features


def _row_context(features: tf.Tensor, weights: Mapping[str, tf.Variable]) -> tf.Tensor:
    """A bidirectional LSTM over each feature row: [batch, height, width, depth] in and out."""
    size, depth = tf.shape(features), features.get_shape().as_list()[-1]
    rows = tf.reshape(features, [size[0] * size[1], size[2], depth])
    context = layers.bidirectional_lstm(tf.transpose(rows, [1, 0, 2]), weights, "BiLSTM/bidirectional_rnn", "lstm_cell")
    hidden = context.get_shape().as_list()[-1]
    context = tf.reshape(tf.transpose(context, [1, 0, 2]), [size[0], size[1], size[2], hidden])
    return _dense(context, weights, "BiLSTM")


def _dense(features: tf.Tensor, weights: Mapping[str, tf.Variable], scope: str) -> tf.Tensor:
    """`features` [batch, height, width, depth] times the matrix under `scope`, plus its biases."""
    matrix = weights[scope + "/weights"]
    depth, outputs = matrix.get_shape().as_list()
    size = tf.shape(features)
    product = tf.matmul(tf.reshape(features, [-1, depth]), matrix) + weights[scope + "/biases"]
    return tf.reshape(product, [size[0], size[1], size[2], outputs])
