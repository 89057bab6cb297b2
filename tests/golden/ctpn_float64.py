"""Writes ctpn_float64.npz: the golden CTPN in double precision, without the code under test."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import tensorflow.compat.v1 as tf

from tests.support import golden_rule


def main():
    images = np.random.RandomState(0).uniform(0, 255, (1, 160, 224, 3)).astype("float32").astype("float64")
    exact = {}
    for kind, suffix in (("raw", ""), ("ema", "/ExponentialMovingAverage")):
        weights = {
            name: golden_rule.fill(name + suffix, shape).astype("float64")
            for name, shape in golden_rule.variables("ctpn").items()
            if not name.endswith("Average") and name != "global_step"
        }
        exact[kind + "_bbox"], exact[kind + "_prob"] = ctpn(images, weights)
    np.savez_compressed(str(golden_rule.GOLDEN / "ctpn_float64.npz"), **exact)


def ctpn(images, weights):
    features = images - np.array([123.68, 116.78, 103.94])
    with tf.Graph().as_default(), tf.Session() as session:
        for block, count in enumerate((2, 2, 3, 3, 3), start=1):
            for number in range(1, count + 1):
                features = convolution(features, weights, f"vgg_16/conv{block}/conv{block}_{number}")
            if block < 5:
                features = tf.nn.max_pool(features, [1, 2, 2, 1], [1, 2, 2, 1], "VALID")
        features = session.run(convolution(features, weights, "Conv"))
    rows = features[0].transpose(1, 0, 2)  # steps, rows, depth
    forward = lstm(rows, weights, "fw")
    backward = lstm(rows[::-1], weights, "bw")[::-1]
    context = np.concatenate([forward, backward], axis=2).transpose(1, 0, 2)[np.newaxis]
    context = context @ weights["BiLSTM/weights"] + weights["BiLSTM/biases"]
    boxes = context @ weights["bbox_pred/weights"] + weights["bbox_pred/biases"]
    scores = context @ weights["cls_pred/weights"] + weights["cls_pred/biases"]
    pairs = scores.reshape(scores.shape[:2] + (-1, 2))
    odds = np.exp(pairs - pairs.max(axis=-1, keepdims=True))
    return boxes, odds / odds.sum(axis=-1, keepdims=True)


def convolution(features, weights, name):
    product = tf.nn.conv2d(features, tf.constant(weights[name + "/weights"]), strides=[1, 1, 1, 1], padding="SAME")
    return tf.nn.relu(product + weights[name + "/biases"])


def lstm(inputs, weights, direction):
    name = f"BiLSTM/bidirectional_rnn/{direction}/lstm_cell/"
    kernel, bias = weights[name + "kernel"], weights[name + "bias"]
    output = state = np.zeros((inputs.shape[1], bias.size // 4))
    outputs = []
    for step in inputs:
        i, j, f, o = np.split(np.concatenate([step, output], axis=1) @ kernel + bias, 4, axis=1)
        state = sigmoid(f + 1) * state + sigmoid(i) * np.tanh(j)
        output = sigmoid(o) * np.tanh(state)
        outputs.append(output)
    return np.stack(outputs)


def sigmoid(x):
    return 0.5 * (1 + np.tanh(0.5 * x))


if __name__ == "__main__":
    main()
