"""The CTPN as its authors train and run it, on a thin VGG-16: convolutions, an LSTM along each row, two heads."""

from __future__ import annotations

import tensorflow.compat.v1 as tf
from anchors import HEIGHTS

VGG_BLOCKS = ((2, 8), (2, 16), (3, 32), (3, 48), (3, 64))  # convolutions, channels
CONV_CHANNELS = 64
LSTM_UNITS = 32
BILSTM_CHANNELS = 64
ANCHORS = len(HEIGHTS)
CHANNEL_MEANS = (123.68, 116.78, 103.94)


def ctpn(pages: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return bbox_pred [n, h, w, 4 * anchors] and the logits cls_pred [n, h, w * anchors, 2]; a cell is 16 pixels.

    `pages` are float32 [n, height, width, 3] of RGB values, 0 to 255.
    """
    x = _vgg_16(pages - tf.constant(CHANNEL_MEANS))
    x = _convolution(x, "Conv", CONV_CHANNELS)
    x = _rows_through_bilstm(x)
    bbox_pred = _dense(x, "bbox_pred", 4 * ANCHORS)
    cls_pred = _dense(x, "cls_pred", 2 * ANCHORS)
    n, h, w = tf.unstack(tf.shape(cls_pred)[:3])
    return bbox_pred, tf.reshape(cls_pred, [n, h, w * ANCHORS, 2])


def _vgg_16(x: tf.Tensor) -> tf.Tensor:
    """The convolutions of VGG-16 up to conv5_3."""
    with tf.variable_scope("vgg_16"):
        for block, (convolutions, channels) in enumerate(VGG_BLOCKS, start=1):
            if block > 1:
                x = tf.nn.max_pool(x, ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding="VALID")
            for number in range(1, convolutions + 1):
                x = _convolution(x, f"conv{block}/conv{block}_{number}", channels)
    return x


def _convolution(x: tf.Tensor, name: str, channels: int) -> tf.Tensor:
    # A scale of 2 would keep the size of the values through each layer. No batch norm is here to make that of the
    # pixels, about 60, small for the LSTM: each of the 14 layers takes its share.
    with tf.variable_scope(name):
        kernel = _weights("weights", [3, 3, x.shape[-1], channels], scale=1.1)
        bias = _variable("biases", [channels], tf.zeros_initializer())
    return tf.nn.relu(tf.nn.conv2d(x, kernel, strides=[1, 1, 1, 1], padding="SAME") + bias)


def _rows_through_bilstm(x: tf.Tensor) -> tf.Tensor:
    """Run an LSTM along each row of the feature map, both ways."""
    n, h, w = tf.unstack(tf.shape(x)[:3])
    steps = tf.transpose(tf.reshape(x, [n * h, w, CONV_CHANNELS]), [1, 0, 2])
    with tf.variable_scope("BiLSTM"):
        with tf.variable_scope("bidirectional_rnn"):
            forward = _lstm(steps, "fw")
            backward = tf.reverse(_lstm(tf.reverse(steps, [0]), "bw"), [0])
        outputs = tf.transpose(tf.concat([forward, backward], axis=2), [1, 0, 2])
        x = tf.reshape(outputs, [n, h, w, 2 * LSTM_UNITS])
        return _matrix_and_bias(x, BILSTM_CHANNELS)


def _lstm(steps: tf.Tensor, name: str) -> tf.Tensor:
    """Run one direction over [time, batch, features]: plain ops, as TensorFlow 2.21 has no LSTM cell outside Keras."""
    with tf.variable_scope(name + "/lstm_cell"):
        kernel = _weights("kernel", [CONV_CHANNELS + LSTM_UNITS, 4 * LSTM_UNITS])
        bias = _variable("bias", [4 * LSTM_UNITS], tf.zeros_initializer())
    from_inputs = tf.tensordot(steps, kernel[:CONV_CHANNELS], axes=1) + bias
    recurrent_kernel = kernel[CONV_CHANNELS:]
    time, batch = tf.shape(steps)[0], tf.shape(steps)[1]
    inputs = tf.TensorArray(tf.float32, time).unstack(from_inputs)
    zeros = tf.zeros([batch, LSTM_UNITS])

    def step(now, state, output, written):
        gates = inputs.read(now) + tf.matmul(output, recurrent_kernel)
        enter, candidate, forget, leave = tf.split(gates, 4, axis=1)
        state = tf.sigmoid(forget + 1.0) * state + tf.sigmoid(enter) * tf.tanh(candidate)
        output = tf.sigmoid(leave) * tf.tanh(state)
        return now + 1, state, output, written.write(now, output)

    start = (0, zeros, zeros, tf.TensorArray(tf.float32, time))
    return tf.while_loop(lambda now, *_: now < time, step, start)[-1].stack()


def _dense(x: tf.Tensor, name: str, channels: int) -> tf.Tensor:
    with tf.variable_scope(name):
        return _matrix_and_bias(x, channels)


def _matrix_and_bias(x: tf.Tensor, channels: int) -> tf.Tensor:
    matrix = _weights("weights", [x.shape[-1], channels])
    return tf.tensordot(x, matrix, axes=1) + _variable("biases", [channels], tf.zeros_initializer())


def _weights(name: str, shape, scale: float = 1.0) -> tf.Variable:
    return _variable(name, shape, tf.variance_scaling_initializer(scale=scale))


def _variable(name: str, shape, initializer) -> tf.Variable:
    return tf.get_variable(name, shape, tf.float32, initializer, use_resource=False)
