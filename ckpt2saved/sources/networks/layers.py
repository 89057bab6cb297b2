"""The layers of the built-in networks, in inference mode, with the variables of their checkpoints.

They are written here because no single TensorFlow version has all of them: contrib was removed, and compat.v1 of newer
versions refuses the old layers and cells. Variables are arguments, so that they have their names in the checkpoint.
"""

from __future__ import annotations

from typing import Dict, Mapping, Optional, Sequence, Tuple

from ckpt2saved.graph.tf1 import tf


def variables(shapes: Mapping[str, Sequence[Optional[int]]]) -> Dict[str, tf.Variable]:
    """Create float32 variables with these full names and shapes, to be restored from a checkpoint.

    They are reference variables: a 1.x server refuses the resource variables that newer TensorFlow writes.
    """
    return {
        name: tf.get_variable(name, shape, tf.float32, tf.zeros_initializer(), trainable=False, use_resource=False)
        for name, shape in shapes.items()
    }


def convolution(
    images: tf.Tensor, kernel: tf.Variable, bias: Optional[tf.Variable] = None, strides: Sequence[int] = (1, 1)
) -> tf.Tensor:
    """SAME convolution of `images` [batch, height, width, channels], plus `bias` if there is one."""
    result = tf.nn.conv2d(images, kernel, strides=[1, strides[0], strides[1], 1], padding="SAME")
    return result if bias is None else tf.nn.bias_add(result, bias)


def max_pool(images: tf.Tensor, window: Sequence[int]) -> tf.Tensor:
    """The largest value of each `window` (height, width) of pixels; an incomplete last window is dropped."""
    size = [1, window[0], window[1], 1]
    return tf.nn.max_pool(images, ksize=size, strides=size, padding="VALID")


def batch_norm(images: tf.Tensor, weights: Mapping[str, tf.Variable], scope: str) -> tf.Tensor:
    """Batch normalisation by the moving statistics under `scope`; epsilon is contrib.layers.batch_norm's 0.001."""
    return tf.nn.batch_normalization(
        images,
        mean=weights[scope + "/moving_mean"],
        variance=weights[scope + "/moving_variance"],
        offset=weights[scope + "/beta"],
        scale=weights[scope + "/gamma"],
        variance_epsilon=0.001,
    )


def bidirectional_lstm(
    inputs: tf.Tensor, weights: Mapping[str, tf.Variable], scope: str, cell: str, lengths: Optional[tf.Tensor] = None
) -> tf.Tensor:
    """One LSTM forwards and one backwards over `inputs` [time, batch, depth]: their outputs [time, batch, 2 * hidden].

    The variables are `<scope>/fw/<cell>/kernel` and so on. `lengths` int32 [batch] are sequence lengths: the backward
    LSTM starts at the last valid step of each sequence, and later outputs are 0, as in
    tf.nn.bidirectional_dynamic_rnn.
    """
    names = [f"{scope}/{direction}/{cell}" for direction in ("fw", "bw")]
    forward, backward = [(weights[name + "/kernel"], weights[name + "/bias"]) for name in names]
    with tf.name_scope(scope + "/fw"):
        ahead = _lstm(inputs, *forward)
    with tf.name_scope(scope + "/bw"):
        back = _reversed(_lstm(_reversed(inputs, lengths), *backward), lengths)
    outputs = tf.concat([ahead, back], axis=2)
    if lengths is None:
        return outputs
    counts = tf.sequence_mask(lengths, tf.shape(inputs)[0], dtype=outputs.dtype)
    return outputs * tf.expand_dims(tf.transpose(counts), axis=2)


def _lstm(inputs: tf.Tensor, kernel: tf.Variable, bias: tf.Variable) -> tf.Tensor:
    """The outputs [time, batch, hidden] of BasicLSTMCell over `inputs` [time, batch, depth], from a zero state.

    `kernel` is [depth + hidden, 4 * hidden], its columns (and `bias`) the gates i, j, f, o; the forget gate's bias is
    increased by 1. The product with the inputs is computed for all steps at once, outside the loop.
    """
    rows, columns = kernel.get_shape().as_list()
    hidden = columns // 4
    depth = rows - hidden
    steps, batch = tf.shape(inputs)[0], tf.shape(inputs)[1]
    forget_bias = tf.constant([0.0] * 2 * hidden + [1.0] * hidden + [0.0] * hidden)
    from_inputs = tf.matmul(tf.reshape(inputs, [-1, depth]), kernel[:depth]) + (bias + forget_bias)
    arriving = tf.TensorArray(tf.float32, steps).unstack(tf.reshape(from_inputs, [steps, batch, 4 * hidden]))
    from_state = tf.identity(kernel[depth:])  # read once, not at every step

    def step(
        time: tf.Tensor, state: tf.Tensor, output: tf.Tensor, outputs: tf.TensorArray
    ) -> Tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.TensorArray]:
        i, j, f, o = tf.split(arriving.read(time) + tf.matmul(output, from_state), 4, axis=1)
        state = tf.sigmoid(f) * state + tf.sigmoid(i) * tf.tanh(j)
        output = tf.sigmoid(o) * tf.tanh(state)
        return time + 1, state, output, outputs.write(time, output)

    zeros = tf.zeros([batch, hidden])
    outputs = tf.TensorArray(tf.float32, steps, element_shape=[None, hidden])
    outputs = tf.while_loop(lambda time, *_: time < steps, step, [0, zeros, zeros, outputs])[-1]
    stacked = outputs.stack()
    stacked.set_shape([None, None, hidden])
    return stacked


def _reversed(sequences: tf.Tensor, lengths: Optional[tf.Tensor]) -> tf.Tensor:
    if lengths is None:
        return tf.reverse(sequences, axis=[0])
    return tf.reverse_sequence(sequences, lengths, seq_axis=0, batch_axis=1)
