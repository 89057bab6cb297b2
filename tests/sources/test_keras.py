"""Files of Keras are published as other checkpoints are: a model, or weights for a function's model."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ckpt2saved.graph.tf1 import tf
from tests.support.saved_models import asked

FUNCTION = """
import tensorflow as tf

def build(variables, options):
    assert any(shape == (4, 3) for shape in variables.values())
    return tf.keras.Sequential([tf.keras.Input([4]), tf.keras.layers.Dense(3, activation="softmax")])
"""


@pytest.fixture
def model():
    """Dropout and batch norm, which answer otherwise while they are trained."""
    if not tf.executing_eagerly():
        pytest.skip("files of Keras need TensorFlow 2")
    keras = tf.compat.v2.keras
    layers = [keras.layers.Dense(5), keras.layers.BatchNormalization(), keras.layers.Dropout(0.5)]
    made = keras.Sequential([keras.layers.Input([4]), *layers, keras.layers.Dense(3, activation="softmax")])
    for variable in made.variables:
        random = np.random.RandomState(len(variable.shape)).rand(*variable.shape) + 0.5
        variable.assign(random.astype(variable.dtype if isinstance(variable.dtype, str) else variable.dtype.name))
    return made


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_a_keras_model_is_published(run, tmp_path, model, name):
    """With its variables as variables; its inputs need no shape, which the model knows."""
    path = tmp_path / name
    model.save(str(path))
    options = ["--graph", path, "--input", "image=image", "--output", "scores=output"]
    result = run("export", *options, "-o", tmp_path / "m")
    assert result.exit_code == 0, result.output
    assert "answers match the Keras file" in result.output and "warm-up     " in result.output
    version = tmp_path / "m" / "1"
    image = np.random.RandomState(1).rand(5, 4).astype("float32")
    np.testing.assert_allclose(asked(version, image=image)["scores"], model.predict(image, verbose=0), rtol=1e-4)
    provenance = json.loads((version / "assets.extra/ckpt2saved.json").read_text())
    assert provenance["graph"]["builder"] == "keras" and provenance["checkpoint"]["format"] == "Keras"
    assert list(provenance["checkpoint"]["sha256"]) == [name]
    assert (version / "variables" / "variables.index").exists()
    result = run("verify", version, *options)
    assert result.exit_code == 0 and "the Keras file, largest difference" in result.output, result.output


def test_weights_for_the_model_of_a_function(run, tmp_path, model):
    """Whose function is given what is in the file."""
    keras = tf.compat.v2.keras
    small = keras.Sequential([keras.layers.Input([4]), keras.layers.Dense(3, activation="softmax")])
    small.save_weights(str(tmp_path / "net.weights.h5"))
    (tmp_path / "my_keras_net.py").write_text(FUNCTION)
    options = ["--graph", "my_keras_net:build", "--python-path", tmp_path, "--input", "image", "--output", "output"]
    result = run("export", *options, "-c", tmp_path / "net.weights.h5", "-o", tmp_path / "m")
    assert result.exit_code == 0, result.output
    image = np.random.RandomState(1).rand(5, 4).astype("float32")
    answer = asked(tmp_path / "m" / "1", image=image)["output"]
    np.testing.assert_allclose(answer, small.predict(image, verbose=0), rtol=1e-4)


def test_what_can_not_be_loaded_is_said(run, tmp_path, model):
    """Weights alone are no graph; a model has its weights; a damaged file is no traceback."""
    weights, damaged = tmp_path / "net.weights.h5", tmp_path / "damaged.h5"
    model.save_weights(str(weights))
    damaged.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    ends = ["--input", "image", "--output", "output", "-o", tmp_path / "m"]
    result = run("export", "--graph", weights, *ends)
    assert result.exit_code == 1 and "pass it as --checkpoint, with --graph MODULE:FUNCTION" in result.output
    result = run("export", "--graph", damaged, "-c", weights, *ends)
    assert result.exit_code == 2 and "omit it" in result.output
    result = run("export", "--graph", damaged, *ends)
    assert result.exit_code == 1 and "Keras can't load this model" in result.output, result.output
