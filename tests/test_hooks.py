"""Hooks in real trainings: what they publish, and that the training does not notice them."""

from __future__ import annotations

import logging
import os
import random
from pathlib import Path

import numpy as np
import pytest

import ckpt2saved
from ckpt2saved.errors import UsageError, VersionError
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.hooks import ExportHook
from ckpt2saved.versions.bases import local_version
from tests.support.object_stores import memory_url
from tests.support.saved_models import asked

IMAGES = np.random.RandomState(0).rand(8, 4).astype("float32")
OPTIONS = {"graph": "meta", "inputs": {"images": "images"}, "outputs": {"scores": "scores"}}


def network(images, training):
    """Dropout draws random numbers in each step, and the loop is of the kind that control flow v2 changes."""
    hidden = tf.nn.relu(tf.matmul(images, tf.get_variable("w1", [4, 5], initializer=tf.random_normal_initializer())))
    hidden = tf.nn.dropout(hidden, rate=0.5) if training else hidden
    scores = tf.matmul(hidden, tf.get_variable("w2", [5, 3], initializer=tf.random_normal_initializer()))
    return tf.nn.softmax(scores, name="scores")


def minimised(scores):
    loss = tf.reduce_mean(tf.square(scores - tf.one_hot([0, 1, 2, 0, 1, 2, 0, 1], 3)))
    return loss, tf.train.AdamOptimizer(0.1).minimize(loss, global_step=tf.train.get_or_create_global_step())


def train(directory, hooks=(), steps=6):
    """Losses and weights of a training that writes a checkpoint every two steps, in a MonitoredTrainingSession."""
    losses = []
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(7)
        loss, step = minimised(network(tf.placeholder(tf.float32, [None, 4], name="images"), True))
        hooks = [tf.train.StopAtStepHook(last_step=steps), *hooks]
        with tf.train.MonitoredTrainingSession(
            checkpoint_dir=str(directory), hooks=hooks, save_checkpoint_steps=2, save_checkpoint_secs=None
        ) as session:
            count, default = len(graph.get_operations()), tf.get_default_session()
            while not session.should_stop():
                losses.append(session.run([loss, step], {"images:0": IMAGES})[0])
                assert tf.get_default_graph() is graph and tf.get_default_session() is default
            assert len(graph.get_operations()) == count and graph.finalized
        weights = tf.train.load_checkpoint(str(directory))
    return losses, {name: weights.get_tensor(name) for name in ("w1", "w2", "global_step")}


def process_state():
    """What a call must leave as it is."""
    v2 = hasattr(tf, "control_flow_v2_enabled") and tf.control_flow_v2_enabled()
    np_state = np.random.get_state()
    return [
        {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"},
        (
            v2,
            tf.executing_eagerly(),
            tf.resource_variables_enabled() if hasattr(tf, "resource_variables_enabled") else None,
        ),
        (random.getstate(), np_state[1].tolist(), np_state[2:]),
        logging.getLogger("tensorflow").level,
    ]


def same(one, other):
    assert one[0] == other[0], (one[0], other[0])
    assert {name: value.tolist() for name, value in one[1].items()} == {n: v.tolist() for n, v in other[1].items()}


def test_the_checkpoints_of_a_training(tmp_path, monkeypatch):
    """Each one that was written after the first step; the training has the losses and weights that it has without."""
    export = ckpt2saved.export

    def drawing(*arguments, **options):
        """The first export of a process imports modules that draw random numbers, as rich does."""
        return [random.random(), np.random.rand(), export(*arguments, **options)][-1]

    monkeypatch.setattr(ckpt2saved, "export", drawing)
    alone = train(tmp_path / "alone")
    hook = ExportHook(tmp_path / "runs", tmp_path / "models", **OPTIONS)
    before = process_state()
    same(train(tmp_path / "runs", [hook]), alone)
    assert process_state() == before
    assert [version.provenance["checkpoint"]["step"] for version in hook.versions] == [2, 4, 6]
    assert [version.number for version in hook.versions] == [1, 2, 3]
    weights = alone[1]
    scores = np.maximum(IMAGES @ weights["w1"], 0) @ weights["w2"]
    expected = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    np.testing.assert_allclose(asked(hook.versions[-1].path, images=IMAGES)["scores"], expected, rtol=1e-4)


def test_every_second_one_and_the_last(tmp_path):
    """Goes on with a training: the checkpoint from which it starts is not exported."""
    train(tmp_path / "runs", steps=2)
    hook = ExportHook(tmp_path / "runs", tmp_path / "models", every=2, **OPTIONS)
    train(tmp_path / "runs", [hook], steps=8)
    assert [version.provenance["checkpoint"]["step"] for version in hook.versions] == [6, 8]


def test_a_failing_export(tmp_path, caplog):
    """Does not stop the training, unless that is asked for."""
    alone = train(tmp_path / "alone")
    wrong = dict(OPTIONS, outputs={"scores": "loss"})
    hook = ExportHook(tmp_path / "runs", tmp_path / "models", **wrong)
    with caplog.at_level(logging.ERROR, "ckpt2saved"):
        same(train(tmp_path / "runs", [hook]), alone)
    assert hook.versions == [] and not (tmp_path / "models").exists()
    found = [one for one in caplog.records if one.name == "ckpt2saved"]
    assert len(found) == 3 and "model.ckpt-2: it is not published: " in found[0].getMessage()
    hook = ExportHook(tmp_path / "again", tmp_path / "models", on_error="raise", **wrong)
    with pytest.raises(ckpt2saved.errors.Ckpt2SavedError):
        train(tmp_path / "again", [hook])


@pytest.mark.parametrize("options", [{"every": 0}, {"on_error": "stop"}])
def test_wrong_values(tmp_path, options):
    """Are told before the training begins."""
    with pytest.raises(UsageError, match="expected"):
        ExportHook(tmp_path, tmp_path / "models", **options)


def test_a_base_in_an_object_store(tmp_path):
    """Versions are published there as by export."""
    url = memory_url()
    hook = ExportHook(tmp_path / "runs", url, every=2, **OPTIONS)
    train(tmp_path / "runs", [hook], steps=4)
    assert [str(version.path) for version in hook.versions] == [f"{url}/1"]
    with local_version(hook.versions[0].path) as directory:
        assert asked(directory, images=IMAGES)["scores"].shape == (8, 3)


def test_a_url_that_can_be_none(tmp_path):
    """Is told before the training begins, also one that has lost a slash as a Path."""
    for url, said in (
        (Path("s3://bucket/models/crnn"), "s3:/bucket/models/crnn: not a local directory"),
        ("http://host/crnn", "not a URL of an object store"),
        ("memory://bucket/crnn/7", "its name is a version number"),
    ):
        with pytest.raises(VersionError, match=said):
            ExportHook(tmp_path / "runs", url, **OPTIONS)


@pytest.mark.skipif(not hasattr(tf, "estimator"), reason="TensorFlow 2.16 and newer have no estimator")
def test_in_an_estimator(tmp_path):
    """As a hook of train(): the input of the graph is the iterator of the data."""

    def model_fn(features, labels, mode):
        scores = network(features, mode == tf.estimator.ModeKeys.TRAIN)
        loss, step = minimised(scores)
        return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=step, predictions=scores)

    def input_fn():
        return tf.data.Dataset.from_tensors((IMAGES, np.zeros(8, "int32"))).repeat(100)

    def trained(name, hooks=()):
        config = tf.estimator.RunConfig(str(tmp_path / name), tf_random_seed=3, save_checkpoints_steps=2)
        estimator = tf.estimator.Estimator(model_fn, config=config)
        estimator.train(input_fn, hooks=list(hooks), steps=4)
        return {name: estimator.get_variable_value(name).tolist() for name in estimator.get_variable_names()}

    options = dict(OPTIONS, inputs={"images": "IteratorGetNext"})
    hook = ExportHook(tmp_path / "runs", tmp_path / "models", **options)
    before = process_state()
    assert trained("runs", [hook]) == trained("alone")
    assert process_state() == before
    assert [version.provenance["checkpoint"]["step"] for version in hook.versions] == [2, 4]
    assert asked(hook.versions[-1].path, images=IMAGES)["scores"].shape == (8, 3)


needs_keras = pytest.mark.skipif(not tf.executing_eagerly(), reason="files of Keras need TensorFlow 2")
KERAS_OPTIONS = {"inputs": {"images": "images"}, "outputs": {"scores": "output"}}


def fitted(saver, callbacks=(), epochs=3):
    """Losses of a Keras training with dropout, and the model; `saver` makes the callback that writes checkpoints."""
    keras = tf.compat.v2.keras
    keras.utils.set_random_seed(5)
    layers = [keras.layers.Dense(5, activation="relu"), keras.layers.Dropout(0.5), keras.layers.Dense(3)]
    model = keras.Sequential([keras.layers.Input([4], name="images"), *layers])
    model.compile("adam", "mse")
    targets = np.random.RandomState(1).rand(8, 3).astype("float32")
    after = [
        *([saver(model)] if saver else ()),
        *callbacks,
        # Numbers that the training itself draws after the export.
        keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: drawn.append(random.random() + np.random.rand())
        ),
    ]
    drawn = []
    losses = model.fit(IMAGES, targets, epochs=epochs, batch_size=2, callbacks=after, verbose=0).history["loss"]
    drawn.append(float(tf.compat.v2.random.uniform([])))
    return [losses, drawn], model


def written_to(path, **options):
    return lambda model: tf.compat.v2.keras.callbacks.ModelCheckpoint(str(path), **options)


@needs_keras
@pytest.mark.parametrize("name", ["{epoch:02d}.keras", "newest.keras"])
def test_in_a_keras_training(tmp_path, name):
    """After each epoch that has written a file; losses and random numbers are those without the callback."""
    from ckpt2saved.hooks import ExportCallback

    alone, _ = fitted(written_to(tmp_path / "alone.keras"))
    callback = ExportCallback(tmp_path / name, tmp_path / "models", **KERAS_OPTIONS)
    before = process_state()[:2]
    found, model = fitted(written_to(tmp_path / name), [callback])
    assert found == alone
    assert process_state()[:2] == before
    assert [version.number for version in callback.versions] == [1, 2, 3]
    np.testing.assert_allclose(
        asked(callback.versions[-1].path, images=IMAGES)["scores"], model.predict(IMAGES, verbose=0), rtol=1e-4
    )
    assert len({asked(one.path, images=IMAGES)["scores"].tobytes() for one in callback.versions}) == 3


@needs_keras
def test_only_what_was_written(tmp_path):
    """A ModelCheckpoint that keeps the best: an epoch without a new file publishes nothing."""
    from ckpt2saved.hooks import ExportCallback

    keras = tf.compat.v2.keras
    savers = []

    def saver(model):
        savers.append(
            keras.callbacks.ModelCheckpoint(str(tmp_path / "best.keras"), monitor="loss", save_best_only=True)
        )
        savers[0].best = 0.0  # no epoch is better
        return savers[0]

    callback = ExportCallback(tmp_path / "best.keras", tmp_path / "models", **KERAS_OPTIONS)
    fitted(saver, [callback])
    assert callback.versions == []
    fitted(written_to(tmp_path / "best.keras"))
    fitted(None, [callback])  # the file is older than this training
    assert callback.versions == []
    callback = ExportCallback(
        keras.callbacks.ModelCheckpoint(str(tmp_path / "a.keras")), tmp_path / "models", every=2, **KERAS_OPTIONS
    )
    fitted(written_to(tmp_path / "a.keras"), [callback])
    assert len(callback.versions) == 2  # the second, and the last


@needs_keras
def test_checkpoints_of_objects_and_weights(tmp_path, monkeypatch):
    """A CheckpointManager, or files of weights, with the function that builds the model."""
    from ckpt2saved.hooks import ExportCallback

    (tmp_path / "own_model.py").write_text(
        "import tensorflow as tf\n"
        "def build(variables, options):\n"
        "    layers = [tf.keras.layers.Dense(5, activation='relu'), tf.keras.layers.Dropout(0.5), tf.keras.layers.Dense(3)]\n"
        "    return tf.keras.Sequential([tf.keras.layers.Input([4], name='images'), *layers])\n"
    )
    options = dict(KERAS_OPTIONS, graph="own_model:build", python_path=[tmp_path])
    alone, _ = fitted(written_to(tmp_path / "alone.weights.h5", save_weights_only=True))
    callback = ExportCallback(tmp_path / "a.weights.h5", tmp_path / "models", **options)
    found, model = fitted(written_to(tmp_path / "a.weights.h5", save_weights_only=True), [callback])
    assert found == alone and len(callback.versions) == 3
    managers = []

    def manager(model):
        checkpoint = tf.compat.v2.train.Checkpoint(model=model)
        managers.append(tf.compat.v2.train.CheckpointManager(checkpoint, str(tmp_path / "tf"), max_to_keep=2))
        callback = ExportCallback(managers[0], tmp_path / "models", **dict(options, inputs={"images": "images"}))
        callbacks.append(callback)
        return tf.compat.v2.keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: (managers[0].save(), callback.on_epoch_end(epoch, logs))
        )

    callbacks = []
    found, model = fitted(manager)
    assert len(callbacks[0].versions) == 3 and found == alone
    np.testing.assert_allclose(
        asked(callbacks[0].versions[-1].path, images=IMAGES)["scores"], model.predict(IMAGES, verbose=0), rtol=1e-4
    )
