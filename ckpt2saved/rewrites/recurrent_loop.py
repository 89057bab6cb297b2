"""A recurrent layer as a loop of stock ops, with the product of all inputs computed before the loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Optional, Sequence, Tuple

from ckpt2saved.graph.tf1 import tf

_Step = Callable[[Any, Sequence[Any]], Sequence[Any]]  # product of a step's input, states -> new states, output first


@dataclass(frozen=True)
class LayerWeights:
    """The weights of one recurrent layer in one direction.

    The gates are side by side: of an LSTM in the order of `gates`, of a GRU r, z and n.
    """

    kernel: Any  # [inputs, gates * units]
    recurrent: Any  # [units, gates * units]
    bias: Any  # [gates * units]
    recurrent_bias: Any = None  # [units]: of a GRU, added to the recurrent product of n before it is reset
    gates: str = "ifco"


def run_layer(
    inputs: Any, weights: LayerWeights, states: Sequence[Any], lengths: Optional[Any] = None, backward: bool = False
) -> Tuple[Any, Sequence[Any]]:
    """Compute a layer for inputs [time, batch, inputs]; returns its outputs [time, batch, units] and last states.

    `states` are h and c of an LSTM, or h of a GRU, each [batch, units]. With `lengths`, int32 [batch], outputs after
    the end of a line are 0 and its states stay. `backward` computes the last step first.
    """
    is_gru = len(states) == 1
    step = _gru_step(weights) if is_gru else _lstm_step(weights)
    inputs = _reversed(inputs, lengths) if backward else inputs
    shape = tf.shape(inputs)
    width = weights.kernel.shape[1]
    flat = tf.matmul(tf.reshape(inputs, [shape[0] * shape[1], tf.shape(weights.kernel)[0]]), weights.kernel)
    flat = tf.nn.bias_add(flat, weights.bias) if is_gru else flat
    products = tf.reshape(flat, tf.stack([shape[0], shape[1], int(width)]))
    outputs, last = _loop(products, step, states, lengths)
    return (_reversed(outputs, lengths) if backward else outputs), last


def _reversed(steps: Any, lengths: Optional[Any]) -> Any:
    if lengths is None:
        return tf.reverse(steps, [0])
    return tf.reverse_sequence(steps, lengths, seq_axis=0, batch_axis=1)


def _lstm_step(weights: LayerWeights) -> _Step:
    def step(product: Any, states: Sequence[Any]) -> Sequence[Any]:
        h, c = states
        recurrent = _biased(h, weights.recurrent, weights.bias)
        gates = dict(zip(weights.gates, tf.split(product + recurrent, 4, axis=1)))
        c = tf.sigmoid(gates["f"]) * c + tf.sigmoid(gates["i"]) * tf.tanh(gates["c"])
        return tf.sigmoid(gates["o"]) * tf.tanh(c), c

    return step


def _biased(state: Any, kernel: Any, bias: Any) -> Any:
    """A product with a bias: TensorFlow makes one op of both, which is faster for a single row than MatMul."""
    return tf.nn.bias_add(tf.matmul(state, kernel), bias)


def _gru_step(weights: LayerWeights) -> _Step:
    units = int(weights.recurrent.shape[0])
    bias = tf.concat([tf.zeros([2 * units], weights.recurrent_bias.dtype), weights.recurrent_bias], 0)

    def step(product: Any, states: Sequence[Any]) -> Sequence[Any]:
        (h,) = states
        sizes = [2 * units, units]
        gates, new = tf.split(product, sizes, axis=1)
        recurrent, candidate = tf.split(_biased(h, weights.recurrent, bias), sizes, axis=1)
        r, z = tf.split(tf.sigmoid(gates + recurrent), 2, axis=1)
        n = tf.tanh(new + r * candidate)
        return [(1 - z) * n + z * h]

    return step


def _loop(products: Any, step: _Step, states: Sequence[Any], lengths: Optional[Any]) -> Tuple[Any, Sequence[Any]]:
    time = tf.shape(products)[0]
    inputs = tf.TensorArray(products.dtype, time, clear_after_read=False).unstack(products)
    outputs = tf.TensorArray(products.dtype, time, element_shape=states[0].shape)

    def body(number: Any, outputs: Any, *states: Any) -> Any:
        new = list(step(inputs.read(number), states))
        output = new[0]
        if lengths is not None:
            inside = number < lengths
            output = tf.raw_ops.Select(condition=inside, x=output, y=tf.zeros_like(output))
            new = [tf.raw_ops.Select(condition=inside, x=one, y=old) for one, old in zip(new, states)]
        return [number + 1, outputs.write(number, output), *new]

    shapes = [tf.TensorShape([]), tf.TensorShape(None), *(state.shape for state in states)]
    _, outputs, *last = tf.while_loop(
        lambda number, *_: number < time, body, [tf.constant(0), outputs, *states], shape_invariants=shapes
    )
    return outputs.stack(), last
