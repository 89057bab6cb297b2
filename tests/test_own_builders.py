"""A graph from the user's own function: TF 1 code by name, a TensorFlow 2 model object with its own checkpoint."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from conftest import write_checkpoint
from test_training_graph import asked

from ckpt2saved.tf1 import SavedModel, tf

GRAPH = """
import tensorflow.compat.v1 as tf

def build(variables, options):
    images = tf.placeholder(tf.float32, [None, 8, None, 1], name="images")
    kernel = tf.get_variable("conv/w", variables["conv/w"])
    steps = tf.while_loop(lambda i, x: i < 2, lambda i, x: [i + 1, x * 2.0], [0, tf.nn.conv2d(images, kernel, [1, 1, 1, 1], "SAME")])
    return {"images": images, "features": steps[1] * options.get("scale", 1.0)}

def broken(variables, options):
    return variables["no such variable"]

def list_of(variables, options):
    return [1]
"""


@pytest.fixture
def module(tmp_path):
    """The user's code in a directory of its own, forgotten afterwards."""
    (tmp_path / "code").mkdir()
    path = list(sys.path)
    yield tmp_path / "code" / "my_network.py"
    sys.path[:] = path
    sys.modules.pop("my_network", None)


@pytest.fixture
def kernel():
    return np.random.RandomState(0).standard_normal((3, 3, 1, 2)).astype("float32")


def exported(run, tmp_path, module, *arguments):
    return run("export", "--python-path", module.parent, *arguments, "-o", tmp_path / "base")


def test_a_function_of_ones_own(run, tmp_path, module, kernel):
    """Called with the checkpoint's shapes and the options; its resource variables and loops are served by any server."""
    module.write_text(GRAPH)
    prefix = write_checkpoint(tmp_path / "model", {"conv/w": kernel, "conv/w/Adam": kernel})
    arguments = ["--graph", "my_network:build", "--checkpoint", prefix, "--option", "scale=3.0"]
    result = exported(run, tmp_path, module, *arguments, "--input", "image=images", "--output", "features")
    assert result.exit_code == 0, result.output
    image = np.random.RandomState(1).uniform(0, 1, (2, 8, 9, 1)).astype("float32")
    with tf.Graph().as_default(), tf.Session() as session:
        wanted = session.run(tf.nn.conv2d(image, kernel, [1, 1, 1, 1], "SAME")) * 12
    np.testing.assert_allclose(asked(tmp_path / "base" / "1", image=image)["features"], wanted, rtol=1e-5)
    saved_model = SavedModel()
    saved_model.ParseFromString((tmp_path / "base" / "1" / "saved_model.pb").read_bytes())
    nodes = saved_model.meta_graphs[0].graph_def.node
    assert "Enter" in {node.op for node in nodes}
    assert not [node.name for node in nodes if "debug_name" in node.attr]


def test_their_exceptions_are_theirs(run, tmp_path, module, kernel):
    """An error in the user's code keeps its type and its traceback."""
    module.write_text(GRAPH)
    prefix = write_checkpoint(tmp_path / "model", {"conv/w": kernel})
    arguments = ["--checkpoint", prefix, "--input", "images", "--output", "features"]
    result = exported(run, tmp_path, module, "--graph", "my_network:broken", *arguments)
    assert isinstance(result.exception, KeyError) and "no such variable" in str(result.exception)
    module.write_text("import a_library_that_is_not_there")
    sys.modules.pop("my_network")
    result = exported(run, tmp_path, module, "--graph", "my_network:build", *arguments)
    assert isinstance(result.exception, ImportError) and result.exit_code == 1


@pytest.mark.parametrize(
    "graph, code, said",
    [
        ("my_netwrok:build", 2, "Python finds no module 'my_netwrok'; say where it is with --python-path DIRECTORY"),
        ("my_network:biuld", 2, "my_network.py has no function 'biuld'"),
        ("my_network:list_of", 1, "it returned list; expected a dict of names to tensors"),
        ("my_network", 1, "'my_network' is not built in; there are crnn, ctpn; a function of your own is"),
    ],
)
def test_what_is_no_builder_is_refused(run, tmp_path, module, kernel, graph, code, said):
    """Said as what it is, without a traceback."""
    module.write_text(GRAPH)
    prefix = write_checkpoint(tmp_path / "model", {"conv/w": kernel})
    arguments = ["--graph", graph, "--checkpoint", prefix, "--input", "images", "--output", "features"]
    result = exported(run, tmp_path, module, *arguments)
    assert (result.exit_code, type(result.exception)) == (code, SystemExit), result.output
    assert said in result.output


MODEL = """
import tensorflow as tf

def build(variables=None, options=None):
    layers = tf.keras.layers
    return tf.keras.Sequential([
        layers.Input((8, 12, 1)),
        layers.Conv2D(4, 3, padding="same"),
        layers.BatchNormalization(),
        layers.MaxPool2D((8, 1)),
        layers.Reshape((12, 4)),
        layers.Bidirectional(layers.LSTM(5, return_sequences=True)),
        layers.Dropout(0.5),
        layers.Dense(7),
    ])

def wider(variables, options):
    return tf.keras.Sequential([tf.keras.layers.Input((12,)), tf.keras.layers.Dense(99)])

def tensors(variables, options):
    return {"a": tf.constant(1)}
"""

needs_tf2 = pytest.mark.skipif(tf.__version__.startswith("1."), reason="object-based checkpoints need TensorFlow 2")


@pytest.fixture(scope="module")
def object_checkpoint(tmp_path_factory):
    """A Keras CRNN after some training, saved with its optimizer by tf.train.Checkpoint, the model, and its code."""
    folder = tmp_path_factory.mktemp("objects")
    (folder / "my_models.py").write_text(MODEL)
    sys.path.insert(0, str(folder))
    import my_models

    model, random = my_models.build(), np.random.RandomState(0)
    model.compile("adam", "mse")
    images = random.uniform(0, 1, (8, 8, 12, 1)).astype("float32")
    model.fit(images, random.uniform(0, 1, (8, 12, 7)), epochs=2, verbose=0)
    checkpoint = tf.compat.v2.train.Checkpoint(model=model, optimizer=model.optimizer)
    yield checkpoint.save(str(folder / "ckpt")), model
    sys.path.remove(str(folder))


@needs_tf2
def test_a_keras_model_with_its_object_based_checkpoint(run, tmp_path, object_checkpoint):
    """Restored whole, in inference mode, with loops that a 1.x server runs."""
    prefix, model = object_checkpoint
    arguments = ["--graph", "my_models:build", "--checkpoint", prefix, "--input", "image[batch,8,12,1]"]
    result = run("export", *arguments, "-o", tmp_path / "base", "--output", "logits=output")
    assert result.exit_code == 0, result.output
    image = np.random.RandomState(5).uniform(0, 1, (3, 8, 12, 1)).astype("float32")
    found = asked(tmp_path / "base" / "1", image=image)["logits"]
    np.testing.assert_allclose(found, np.asarray(model(image, training=False)), atol=1e-5)
    assert np.abs(found - np.asarray(model(image, training=True))).max() > 0.01
    saved_model = SavedModel()
    saved_model.ParseFromString((tmp_path / "base" / "1" / "saved_model.pb").read_bytes())
    ops = {node.op for node in saved_model.meta_graphs[0].graph_def.node}
    assert "Enter" in ops and not ops & {"While", "StatelessWhile", "PartitionedCall", "StatefulPartitionedCall"}


@needs_tf2
@pytest.mark.parametrize(
    "graph, said",
    [
        (
            "my_models:wider",
            "does not hold every variable of the model that the function returned; under its root are",
        ),
        (
            "my_models:tensors",
            "expected is a function that returns a tf.Module or a Keras model, this one returned dict",
        ),
        ("crnn", "this checkpoint is object-based (tf.train.Checkpoint): pass --graph package.module:function"),
    ],
)
def test_what_does_not_fit_an_object_based_checkpoint(run, tmp_path, object_checkpoint, graph, said):
    """Another model, no model, a built-in graph."""
    arguments = ["--graph", graph, "--checkpoint", object_checkpoint[0], "--input", "image[batch,12]"]
    result = run("export", *arguments, "-o", tmp_path / "base", "--output", "output")
    assert result.exit_code in (1, 2) and isinstance(result.exception, SystemExit), result.output
    assert said in result.output
    assert not list((tmp_path / "base").glob("*"))
