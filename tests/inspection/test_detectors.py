"""inspect: the heads of text detectors, found by what the network and its loss do with them, whatever they are called."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("tensorflow")

from ckpt2saved.graph.tf1 import tf, v1_control_flow
from tests.support.trainings import inputs_of, proposed, save, weights


def head(features, name, channels):
    """A linear layer on each position of a feature map [batch, rows, columns, 6]."""
    with tf.variable_scope(name):
        kernel = weights("W", 1, 1, 6, channels)
        return tf.nn.bias_add(tf.nn.conv2d(features, kernel, [1, 1, 1, 1], "SAME"), weights("b", channels))


def features_of(images):
    return tf.nn.relu(tf.nn.conv2d(images, weights("conv/W", 3, 3, 3, 6), [1, 1, 1, 1], "SAME"))


def smooth_l1(difference):
    size = tf.abs(difference)
    near = tf.cast(size < 1.0, tf.float32)
    return near * difference**2 / 2 + (1 - near) * (size - 0.5)


def kinds(content):
    return [(output["kind"], output["tensor"]) for output in content["graph"]["outputs"] if output["proposed"]]


def test_box_deltas_have_any_name(tmp_path, inspected):
    """Twice as many channels as classes beside them on the same features, and a smooth L1 loss on a few of them."""
    with tf.Graph().as_default(), v1_control_flow():
        images = tf.placeholder(tf.float32, [None, None, None, 3], name="images")
        truth = tf.placeholder(tf.float32, [None, 5], name="truth")
        features = features_of(images)
        one, two = head(features, "one", 4), head(features, "two", 8)
        score = tf.reshape(one, [-1, 2])
        tf.nn.softmax(score, name="three")
        targets, labels = tf.py_func(lambda *them: them, [one, truth], [tf.float32, tf.int32])
        keep = tf.reshape(tf.where(tf.not_equal(tf.reshape(labels, [-1]), -1)), [-1])
        entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(
            logits=tf.gather(score, keep), labels=tf.gather(tf.reshape(labels, [-1]), keep)
        )
        boxes = tf.gather(tf.reshape(two, [-1, 4]), keep)
        save(tmp_path, loss=tf.reduce_mean(entropy) + tf.reduce_sum(smooth_l1(boxes - tf.gather(targets, keep))))
    content = inspected(tmp_path)
    assert inputs_of(content) == {"images": "images:0"}
    assert kinds(content) == [("probabilities", "three:0"), ("boxes", "two/BiasAdd:0"), ("scores", "one/BiasAdd:0")]
    reasons = {output["kind"]: output["reason"] for output in content["graph"]["outputs"]}
    assert "8 channels beside 4 of" in reasons["boxes"]


def test_a_head_called_box_that_meets_a_cross_entropy_is_no_box(tmp_path, inspected):
    """A name comes after what the loss does with the tensor."""
    with tf.Graph().as_default():
        images = tf.placeholder(tf.float32, [None, 8, 8, 3], name="images")
        wanted = tf.placeholder(tf.int32, [None, 8, 8], name="wanted")
        scores = head(features_of(images), "box", 4)
        entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=wanted, logits=scores)
        save(tmp_path, loss=tf.reduce_mean(entropy))
    assert kinds(inspected(tmp_path)) == [("scores", "box/BiasAdd:0")]


def test_what_the_loss_takes_apart_is_one_output(tmp_path, inspected):
    """Four distances and an angle: areas are made of some of them before any label is met, and a picture of one."""
    with tf.Graph().as_default():
        images = tf.placeholder(tf.float32, [None, None, None, 3], name="images")
        truth = tf.placeholder(tf.float32, [None, None, None, 6], name="truth")
        with tf.name_scope("tower"):
            features = features_of(images)
            score = tf.nn.sigmoid(head(features, "a", 1))
            geometry = tf.concat([tf.nn.sigmoid(head(features, "b", 4)) * 512.0, head(features, "c", 1) - 0.5], 3)
            tf.summary.image("top", geometry[:, :, :, 0:1])
            top, right, bottom, left, angle = tf.split(geometry, 5, 3)
            wanted = tf.split(truth, 6, 3)
            area = (top + bottom) * (right + left)
            shared = tf.minimum(top, wanted[0]) * tf.minimum(left, wanted[3])
            loss = tf.reduce_mean(-tf.log((shared + 1.0) / (area + 1.0)) * wanted[5])
            loss += tf.reduce_mean(1 - tf.cos(angle - wanted[4])) - tf.reduce_mean(score * wanted[5])
        save(tmp_path, loss=loss)
    content = inspected(tmp_path)
    assert kinds(content) == [("probabilities", "tower/Sigmoid:0"), ("boxes", "tower/concat:0")]
    assert [spec["key"] for spec in content["graph"]["proposal"]["outputs"]] == ["probabilities", "boxes"]
    assert not [output for output in content["graph"]["outputs"] if "plit" in output["tensor"]]


def test_probabilities_that_only_the_loss_makes_of_a_part_give_way_to_the_last_layer(tmp_path, inspected):
    """One tensor for everything, as Keras wants it; the loss cuts it into pieces, each treated in its own way."""
    with tf.Graph().as_default():
        images = tf.placeholder(tf.float32, [None, 8, 8, 3], name="images")
        truth = tf.placeholder(tf.float32, [None, 8, 8, 5], name="truth")
        features = features_of(images)
        everything = tf.concat([head(features, "inside", 1), head(features, "corner", 4)], 3, name="detect")
        inside, corner = everything[:, :, :, :1], everything[:, :, :, 1:]
        loss = -tf.reduce_mean(truth[:, :, :, :1] * tf.log(tf.nn.sigmoid(inside) + 1e-4))
        save(tmp_path, loss=loss + tf.reduce_mean(smooth_l1(corner - truth[:, :, :, 1:])))
    assert proposed(inspected(tmp_path)) == ["detect:0"]


def test_an_output_is_shown_under_the_name_that_its_author_gave(tmp_path, inspected):
    """tanh of a linear layer, transposed under a name of its own; TensorFlow named the rest."""
    with tf.Graph().as_default():
        images = tf.placeholder(tf.float32, [None, 8, 8, 3], name="images")
        truth = tf.placeholder(tf.float32, [None, 8, 8, 4], name="truth")
        features = features_of(images)
        classes = tf.transpose(tf.nn.sigmoid(head(features, "fc", 4)), [0, 2, 1, 3], name="classes")
        turned = tf.transpose(tf.tanh(head(features, "other", 4)), [0, 2, 1, 3], name="turned")
        tf.reshape(turned, [-1, 64, 4], name="flat")
        save(tmp_path, loss=tf.reduce_sum((classes - truth) ** 2) + tf.reduce_sum((turned - truth) ** 2))
    content = inspected(tmp_path)
    assert kinds(content) == [("probabilities", "classes:0"), ("boxes", "turned:0")]
    assert "also flat:0" in content["graph"]["outputs"][1]["reason"]


def test_a_head_that_no_label_meets_is_no_box(tmp_path, inspected):
    """A picture for a summary, say."""
    with tf.Graph().as_default():
        images = tf.placeholder(tf.float32, [None, 8, 8, 3], name="images")
        wanted = tf.placeholder(tf.int32, [None, 8, 8], name="wanted")
        features = features_of(images)
        scores = head(features, "fc", 4)
        tf.summary.image("look", head(features, "look", 3))
        entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=wanted, logits=scores)
        save(tmp_path, loss=tf.reduce_mean(entropy))
    content = inspected(tmp_path)
    assert kinds(content) == [("scores", "fc/BiasAdd:0")]
    assert np.all([output["kind"] != "boxes" for output in content["graph"]["outputs"]])


def test_a_batch_of_one_stays_one(tmp_path, inspected, run):
    """Who trains on single pictures takes the batch away somewhere; the printed command has to work."""
    with tf.Graph().as_default():
        images = tf.placeholder(tf.float32, [1, None, None, 3], name="images")
        width = tf.placeholder(tf.int32, [None], name="width")
        truth = tf.placeholder(tf.float32, [None, 4], name="truth")
        rows = tf.squeeze(features_of(images), 0)
        steps = tf.sequence_mask(tf.tile(width, tf.shape(rows)[:1]), tf.shape(rows)[1], tf.float32)
        flat = tf.reshape(rows * tf.expand_dims(steps, 2), [-1, 6])
        found = tf.nn.sigmoid(tf.matmul(flat, weights("fc/W", 6, 4)))
        prefix = save(tmp_path, loss=tf.reduce_sum((found - truth) ** 2))
    content = inspected(tmp_path)
    sizes = [spec["sizes"] for spec in content["graph"]["proposal"]["inputs"]]
    assert sizes == [[1, "height", "width", 3], [1]]
    arguments = ["--input=images=images:0[1,height,width,3]", "--input=width=width:0[1]"]
    arguments += ["--output=found=" + proposed(content)[0]]
    result = run("export", "--checkpoint", prefix, *arguments, "-o", tmp_path / "base")
    assert result.exit_code == 0, result.output
