"""The CRNN as its authors train and run it: seven convolutions, two bidirectional LSTM layers, one matrix."""

from __future__ import annotations

import tensorflow.compat.v1 as tf
from sizes import BATCH_NORM_DECAY, BATCH_NORM_EPSILON, CHANNELS, CLASSES, DROPPED, LSTM_UNITS


def crnn_logits(images: tf.Tensor, lengths: tf.Tensor, training: bool) -> tf.Tensor:
    """Return logits [time, batch, classes] for images [batch, 32, width, 3] of raw pixel values, 0 to 255.

    `lengths` are in time steps: the true width of each image // 4. In training mode batch norm takes the statistics
    of the batch, and its running averages move with the ops in the UPDATE_OPS collection.
    """
    with tf.variable_scope("shadow"):
        steps = _convolutions(images, training)
        with tf.variable_scope("LSTMLayers"):
            steps = _bidirectional_layers(steps, lengths)
            if training:
                steps = tf.nn.dropout(steps, rate=DROPPED)
            return _matrix_product(steps, _weights("w", [2 * LSTM_UNITS, CLASSES]))


def _convolutions(images: tf.Tensor, training: bool) -> tf.Tensor:
    """Return features [time, batch, channels], one step for every four pixels of width."""
    x = _max_pool(_convolution(images, "conv1", CHANNELS[0]), 2)
    x = _max_pool(_convolution(x, "conv2", CHANNELS[1]), 2)
    x = _convolution(x, "conv3", CHANNELS[2])
    x = _max_pool(_convolution(x, "conv4", CHANNELS[3]), 1)
    x = _batch_norm(_convolution(x, "conv5", CHANNELS[4]), "BatchNorm", training)
    x = _batch_norm(_convolution(x, "conv6", CHANNELS[5]), "BatchNorm_1", training)
    x = _convolution(_max_pool(x, 1), "conv7", CHANNELS[6], size=2, strides=[1, 2, 1, 1])
    return tf.transpose(tf.squeeze(x, axis=1), [1, 0, 2])


def _convolution(x: tf.Tensor, name: str, channels: int, size: int = 3, strides=(1, 1, 1, 1)) -> tf.Tensor:
    with tf.variable_scope(name):
        kernel = _weights("W", [size, size, x.shape[-1], channels])
        return tf.nn.relu(tf.nn.conv2d(x, kernel, strides=list(strides), padding="SAME"))


def _max_pool(x: tf.Tensor, across: int) -> tf.Tensor:
    """Halve the height, and divide the width by `across`."""
    window = [1, 2, across, 1]
    return tf.nn.max_pool(x, ksize=window, strides=window, padding="VALID")


def _batch_norm(x: tf.Tensor, name: str, training: bool) -> tf.Tensor:
    channels = [x.shape[-1]]
    with tf.variable_scope(name):
        scale = _variable("gamma", channels, tf.ones_initializer())
        offset = _variable("beta", channels, tf.zeros_initializer())
        mean = _variable("moving_mean", channels, tf.zeros_initializer(), trainable=False)
        variance = _variable("moving_variance", channels, tf.ones_initializer(), trainable=False)
        if not training:
            return tf.nn.fused_batch_norm(
                x, scale, offset, mean, variance, epsilon=BATCH_NORM_EPSILON, is_training=False
            )[0]
        y, batch_mean, batch_variance = tf.nn.fused_batch_norm(x, scale, offset, epsilon=BATCH_NORM_EPSILON)
        for average, value in ((mean, batch_mean), (variance, batch_variance)):
            update = tf.assign_sub(average, (1 - BATCH_NORM_DECAY) * (average - value))
            tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)
        return y


def _bidirectional_layers(steps: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    for layer in range(2):
        with tf.variable_scope(f"stack_bidirectional_rnn/cell_{layer}/bidirectional_rnn"):
            steps = _bidirectional_lstm(steps, lengths)
    return steps


def _bidirectional_lstm(steps: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """Run [time, batch, features] forward and backward, and return both outputs side by side.

    A loop of plain ops, because TensorFlow 2.21 has no LSTM cell outside Keras; one loop for both directions, because
    a small network spends more time on starting ops than in them.
    """
    features = int(steps.shape[2])
    from_inputs, recurrent_kernels = [], []
    for name, x in (("fw", steps), ("bw", _reversed(steps, lengths))):
        with tf.variable_scope(name + "/basic_lstm_cell"):
            kernel = _weights("kernel", [features + LSTM_UNITS, 4 * LSTM_UNITS])
            bias = _variable("bias", [4 * LSTM_UNITS], tf.zeros_initializer())
        from_inputs.append(_matrix_product(x, kernel[:features]) + bias)
        recurrent_kernels.append(kernel[features:])
    outputs = _recurrence(tf.stack(from_inputs, axis=1), tf.stack(recurrent_kernels))
    forward, backward = tf.unstack(outputs, num=2, axis=1)
    return tf.concat([forward, _reversed(backward, lengths)], axis=2)


def _reversed(steps: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """Reverse each sequence within its own length; what lies beyond stays in place, and last."""
    return tf.reverse_sequence(steps, lengths, seq_axis=0, batch_axis=1)


def _recurrence(from_inputs: tf.Tensor, recurrent_kernels: tf.Tensor) -> tf.Tensor:
    """Return LSTM outputs [time, direction, batch, units] for what the inputs add to the gates at each step."""
    time, batch = tf.shape(from_inputs)[0], tf.shape(from_inputs)[2]
    inputs = tf.TensorArray(tf.float32, time).unstack(from_inputs)
    zeros = tf.zeros([2, batch, LSTM_UNITS])

    def step(now, state, output, written):
        gates = inputs.read(now) + tf.matmul(output, recurrent_kernels)
        enter, candidate, forget, leave = tf.split(gates, 4, axis=2)
        state = tf.sigmoid(forget + 1.0) * state + tf.sigmoid(enter) * tf.tanh(candidate)
        output = tf.sigmoid(leave) * tf.tanh(state)
        return now + 1, state, output, written.write(now, output)

    start = (0, zeros, zeros, tf.TensorArray(tf.float32, time))
    outputs = tf.while_loop(lambda now, *_: now < time, step, start)[-1].stack()
    return tf.ensure_shape(outputs, [None, 2, None, LSTM_UNITS])


def _matrix_product(steps: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    return tf.tensordot(steps, matrix, axes=1)


def _weights(name: str, shape) -> tf.Variable:
    """Make a matrix or kernel. No bias stands before the first batch norm, so the scale of the pixels cancels there
    and needs no care here.
    """
    return _variable(name, shape, tf.variance_scaling_initializer(scale=2.0 if name == "W" else 1.0))


def _variable(name: str, shape, initializer, trainable: bool = True) -> tf.Variable:
    return tf.get_variable(name, shape, tf.float32, initializer, trainable=trainable, use_resource=False)
