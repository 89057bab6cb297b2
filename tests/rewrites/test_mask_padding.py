"""Each line of a padded batch gets the answer that it gets alone."""

from __future__ import annotations

import numpy as np
import pytest

from ckpt2saved.sources.networks import build_network
from ckpt2saved.tf1 import tf
from tests.support.checkpoints import crnn_shapes
from tests.support.padded_batches import Network, pictures

SAME_ENOUGH = 1e-5


def weights(name, *shape):
    return tf.get_variable(name, shape, use_resource=False)


def crnn(shapes):
    with tf.Graph().as_default() as graph:
        tensors = build_network("crnn", shapes, {})
    return Network(graph.as_graph_def(), "input_data:0", [tensors["logits"].name], ["input_batch_size:0"])


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


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("size", [2, 3])
def test_dilation(size, padding):
    network = Network.built(twice(convolution(size, 1, padding, dilation=3)))
    assert network.masked.is_proven
    made = pictures(np.random.RandomState(size), [9, 20, 31])
    assert network.difference(made, time_axis=2) < SAME_ENOUGH
