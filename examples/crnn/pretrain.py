"""Learn the weights of network.py on a GPU with JAX, which TensorFlow 1.15 has no build for, into an .npz file.

The network is the same, op for op. train.py takes the file with --weights and goes on from there.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Iterator

import jax
import jax.numpy as jnp
import numpy
import optax
from batches import Batch, training_batches
from sizes import BATCH_NORM_DECAY, BATCH_NORM_EPSILON, CHANNELS, CLASSES, DROPPED, LSTM_UNITS
from texts import MAX_LENGTH, class_ids

PEAK_LEARNING_RATE = 0.003
LARGEST_GRADIENT = 5.0
WARM_UP_STEPS = 200
STEPS_BETWEEN_REPORTS = 500
WIDTHS = (80, 128, 192, 272, 384, 560)  # of batches: one compiled step each
KEPT = 1500  # batches to take again when no new one is ready
LAYERS = "shadow/LSTMLayers/stack_bidirectional_rnn/cell_{}/bidirectional_rnn/{}/basic_lstm_cell/"


def main() -> None:
    options = _parse_options()
    started = time.time()
    batches = _ahead(training_batches(options.seed, options.batch, options.processes))
    weights, averages = initial_weights(jax.random.key(options.seed))
    optimizer = optax.chain(optax.clip_by_global_norm(LARGEST_GRADIENT), optax.scale_by_adam())
    state = (weights, averages, optimizer.init(weights))
    steps = _compiled_steps(optimizer, state, options.batch)
    key, losses, drawn = jax.random.key(options.seed + 1), [], 0
    for step, (is_new, (images, lengths, labels, counts)) in enumerate(batches):
        minutes = (time.time() - started) / 60
        if step % STEPS_BETWEEN_REPORTS == 0 or minutes > options.minutes:
            _save(options.output, state)
            print(
                f"step {step} loss {numpy.mean(losses or [0]):.3f} after {minutes:.1f} minutes, {drawn} lines drawn",
                flush=True,
            )
            losses = []
        if minutes > options.minutes:
            break
        rate = PEAK_LEARNING_RATE * min((step + 1) / WARM_UP_STEPS, max(1 - minutes / options.minutes, 0.01))
        one_step = steps[images.shape[2]]
        state, loss = one_step(state, images, lengths, labels, counts, rate, jax.random.fold_in(key, step))
        losses.append(float(loss))
        drawn += is_new * options.batch


def _save(path: Path, state) -> None:
    weights, averages, _ = state
    numpy.savez(path, **{name: numpy.asarray(value) for name, value in {**weights, **averages}.items()})


def initial_weights(key) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """Return what is trained and batch norm's running averages, under the names of TensorFlow's variables."""
    he, unit = (jax.nn.initializers.variance_scaling(scale, "fan_in", "truncated_normal") for scale in (2.0, 1.0))
    keys = iter(jax.random.split(key, 12))
    weights, averages, before = {}, {}, 3
    for number, channels in enumerate(CHANNELS, start=1):
        size = 3 if number < 7 else 2
        weights[f"shadow/conv{number}/W"] = he(next(keys), (size, size, before, channels))
        before = channels
    for name, channels in (("shadow/BatchNorm/", CHANNELS[4]), ("shadow/BatchNorm_1/", CHANNELS[5])):
        weights[name + "gamma"], weights[name + "beta"] = jnp.ones(channels), jnp.zeros(channels)
        averages[name + "moving_mean"], averages[name + "moving_variance"] = jnp.zeros(channels), jnp.ones(channels)
    for layer in range(2):
        for way in ("fw", "bw"):
            weights[LAYERS.format(layer, way) + "kernel"] = unit(next(keys), (before + LSTM_UNITS, 4 * LSTM_UNITS))
            weights[LAYERS.format(layer, way) + "bias"] = jnp.zeros(4 * LSTM_UNITS)
        before = 2 * LSTM_UNITS
    weights["shadow/LSTMLayers/w"] = unit(next(keys), (before, CLASSES))
    return weights, averages


def crnn_logits(weights, averages, images, lengths, key=None):
    """Return logits [batch, time, classes], and batch norm's averages as they are after this batch.

    Training mode with a `key` for dropout; without, inference mode.
    """
    averages = dict(averages)
    x = _max_pool(_convolution(weights, images, 1), 2)
    x = _max_pool(_convolution(weights, x, 2), 2)
    x = _max_pool(_convolution(weights, _convolution(weights, x, 3), 4), 1)
    x = _batch_norm(weights, averages, _convolution(weights, x, 5), "shadow/BatchNorm/", key is not None)
    x = _batch_norm(weights, averages, _convolution(weights, x, 6), "shadow/BatchNorm_1/", key is not None)
    x = _convolution(weights, _max_pool(x, 1), 7, strides=(2, 1))[:, 0]
    for layer in range(2):
        x = _bidirectional_lstm(weights, x, lengths, layer)
    if key is not None:
        x *= jax.random.bernoulli(key, 1 - DROPPED, x.shape) / (1 - DROPPED)
    return x @ weights["shadow/LSTMLayers/w"], averages


def _convolution(weights, x, number: int, strides=(1, 1)):
    kernel = weights[f"shadow/conv{number}/W"]
    return jax.nn.relu(
        jax.lax.conv_general_dilated(x, kernel, strides, "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    )


def _max_pool(x, across: int):
    window = (1, 2, across, 1)
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")


def _batch_norm(weights, averages, x, name: str, training: bool):
    mean, variance = averages[name + "moving_mean"], averages[name + "moving_variance"]
    if training:
        batch_mean, batch_variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
        averages[name + "moving_mean"] = mean + (1 - BATCH_NORM_DECAY) * (batch_mean - mean)
        averages[name + "moving_variance"] = variance + (1 - BATCH_NORM_DECAY) * (batch_variance - variance)
        mean, variance = batch_mean, batch_variance
    return (x - mean) * jax.lax.rsqrt(variance + BATCH_NORM_EPSILON) * weights[name + "gamma"] + weights[name + "beta"]


def _bidirectional_lstm(weights, x, lengths, layer: int):
    """Run [batch, time, features] forward and backward, and return both outputs side by side."""
    time_steps = jnp.arange(x.shape[1])[None]
    order = jnp.where(time_steps < lengths[:, None], lengths[:, None] - 1 - time_steps, time_steps)
    reverse = lambda sequence: jnp.take_along_axis(sequence, order[:, :, None], axis=1)
    kernels = jnp.stack([weights[LAYERS.format(layer, way) + "kernel"] for way in ("fw", "bw")])
    biases = jnp.stack([weights[LAYERS.format(layer, way) + "bias"] for way in ("fw", "bw")])
    features = x.shape[2]
    both = jnp.stack([x, reverse(x)])
    inputs = jnp.einsum("dbtf,dfg->tdbg", both, kernels[:, :features]) + biases[:, None]

    def step(carried, now):
        state, output = carried
        enter, candidate, forget, leave = jnp.split(now + output @ kernels[:, features:], 4, axis=2)
        state = jax.nn.sigmoid(forget + 1.0) * state + jax.nn.sigmoid(enter) * jnp.tanh(candidate)
        output = jax.nn.sigmoid(leave) * jnp.tanh(state)
        return (state, output), output

    zeros = jnp.zeros((2, x.shape[0], LSTM_UNITS))
    _, outputs = jax.lax.scan(step, (zeros, zeros), inputs)
    forward, backward = jnp.moveaxis(outputs, 0, 2)
    return jnp.concatenate([forward, reverse(backward)], axis=2)


def _one_step(optimizer, state, images, lengths, labels, counts, rate, key):
    weights, averages, moments = state

    def loss_of(weights):
        logits, after = crnn_logits(weights, averages, images.astype("float32"), lengths, key)
        beyond = (jnp.arange(logits.shape[1])[None] >= lengths[:, None]).astype("float32")
        no_label = (jnp.arange(labels.shape[1])[None] >= counts[:, None]).astype("float32")
        return optax.ctc_loss(logits, beyond, labels, no_label, blank_id=CLASSES - 1).mean(), after

    (loss, averages), gradients = jax.value_and_grad(loss_of, has_aux=True)(weights)
    updates, moments = optimizer.update(gradients, moments, weights)
    weights = jax.tree.map(lambda weight, update: weight - rate * update, weights, updates)
    return (weights, averages, moments), loss


def _compiled_steps(optimizer, state, size: int) -> dict:
    """Return the training step for each width of a batch, compiled side by side."""
    function = jax.jit(partial(_one_step, optimizer), donate_argnums=0)

    def compiled(width: int):
        images, numbers = jnp.zeros((size, 32, width, 3), "uint8"), jnp.zeros(size, "int32")
        labels = jnp.zeros((size, MAX_LENGTH), "int32")
        return function.lower(state, images, numbers, labels, numbers, 0.1, jax.random.key(0)).compile()

    with ThreadPoolExecutor() as threads:
        return dict(zip(WIDTHS, threads.map(compiled, WIDTHS)))


def _ahead(batches: Iterator[Batch]) -> Iterator[tuple[bool, tuple]]:
    """Yield whether a batch is new, and the batch as arrays of a few shapes: while the next is not ready, one of those
    before again.
    """
    random, kept = numpy.random.RandomState(0), []
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(lambda: _arrays(next(batches)))
        while True:
            is_new = coming.done() or not kept
            if is_new:
                batch = coming.result()
                coming = thread.submit(lambda: _arrays(next(batches)))
                kept[KEPT - 1 :] = []
                kept.insert(random.randint(len(kept) + 1), batch)
            else:
                batch = kept[random.randint(len(kept))]
            yield is_new, batch


def _arrays(batch: Batch) -> tuple:
    width = min((width for width in WIDTHS if width >= batch.images.shape[2]), default=WIDTHS[-1])
    more = max(0, width - batch.images.shape[2])
    images = numpy.pad(batch.images, ((0, 0), (0, 0), (0, more), (0, 0)), "edge")[:, :, :width]
    labels = numpy.zeros((len(batch.lines), MAX_LENGTH), "int32")
    for row, line in zip(labels, batch.lines):
        row[: len(line)] = class_ids(line)
    counts = numpy.array([len(line) for line in batch.lines], "int32")
    return images, numpy.minimum(batch.widths // 4, width // 4), labels, counts


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="The .npz file to write.")
    parser.add_argument("--minutes", type=float, default=5, help="How long to train (default: %(default)s).")
    parser.add_argument("--batch", type=int, default=256, help="Lines in a batch (default: %(default)s).")
    parser.add_argument("--seed", type=int, default=1, help="Of lines, pictures and weights (default: %(default)s).")
    parser.add_argument("--processes", type=int, default=14, help="Processes to draw with (default: %(default)s).")
    return parser.parse_args()


if __name__ == "__main__":
    main()
