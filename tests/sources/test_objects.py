"""Model objects of TensorFlow 2: found in their checkpoint, whole, under whatever name; served as variables."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from ckpt2saved.graph.tf1 import SavedModel, tf
from tests.support.checkpoints import write_checkpoint
from tests.support.saved_models import asked

pytestmark = pytest.mark.skipif(tf.__version__.startswith("1."), reason="object-based checkpoints need TensorFlow 2")

CODE = """
import numpy as np
import tensorflow as tf

layers = tf.keras.layers

def random(shape, seed):
    return tf.Variable(np.random.RandomState(seed).uniform(-1, 1, shape).astype("float32"))

class Dense(tf.Module):
    def __init__(self, size=3, dtype="float32"):
        super().__init__()
        self.kernel, self.bias = random([4, size], 0), random([size], 1)
        if dtype != "float32":
            self.bias = tf.Variable(tf.cast(self.bias, dtype))

    def __call__(self, x):
        return tf.matmul(x, self.kernel) + tf.cast(self.bias, tf.float32)

class Parts(tf.Module):
    "Lists, dicts, Keras in a module, one variable twice."
    def __init__(self):
        super().__init__()
        self.stack = [Dense(4), Dense(4)]
        self.heads = {"a": Dense(2), "b.c/d": random([2], 5)}
        self.keras = tf.keras.Sequential([layers.Input((2,)), layers.Dense(2)])
        self.again = self.stack[0].kernel

    def __call__(self, x):
        for part in self.stack:
            x = part(x)
        return self.keras(self.heads["a"](tf.matmul(x, self.again)) * self.heads["b.c/d"])

class Reading(tf.Module):
    "Variables read by rows, in a loop and in a condition."
    def __init__(self):
        super().__init__()
        self.table, self.other, self.step = random([10, 3], 2), random([3, 3], 3), random([3], 4)

    def __call__(self, x):
        ids = tf.cast(x[:, 0] * 3, tf.int32) % 10
        rows = tf.gather(self.table, ids) + tf.gather_nd(self.table, tf.stack([ids, ids % 3], 1))[:, None]
        for _ in tf.range(tf.shape(x)[1]):
            rows = tf.tanh(tf.matmul(rows, self.other)) + self.step
        if tf.reduce_max(x) > 100.0:
            rows = rows + self.step
        else:
            rows = rows - self.step * 2.0 + tf.cast(tf.shape(self.table)[0], tf.float32)
        return rows

class Called(Dense):
    "Behind functions: compiled by XLA, mapped over rows, one of several branches."
    @tf.function(jit_compile=True)
    def compiled(self, x):
        return super().__call__(x)

    @tf.function
    def of_row(self, row):
        return tf.linalg.matvec(self.kernel, row, transpose_a=True)

    def __call__(self, x):
        branches = [lambda: tf.matmul(x, self.kernel), lambda: self.compiled(x) * self.bias]
        return self.compiled(x) + tf.map_fn(self.of_row, x) + tf.switch_case(tf.shape(x)[0] % 2 + 1, branches * 2)

class Subclassed(tf.keras.Model):
    def __init__(self):
        super().__init__()
        self.first, self.second = layers.Dense(4, activation="tanh"), functional()
        self.drop, self.norm = layers.Dropout(0.5), layers.BatchNormalization()

    def call(self, x, training=False):
        x = self.drop(self.norm(self.first(x), training=training), training=training)
        return self.second(x, training=training)

class Listed(tf.keras.Model):
    def __init__(self):
        super().__init__()
        self.first, self.blocks = layers.Dense(4), [layers.Dense(3)]

    def call(self, x):
        return self.blocks[0](self.first(x))

def functional():
    inputs = tf.keras.Input((4,))
    x = layers.BatchNormalization()(layers.Dense(5, activation="relu")(inputs))
    return tf.keras.Model(inputs, layers.Dense(3)(layers.Dropout(0.5)(x)))

def sequential():
    return tf.keras.Sequential([layers.Input((4,)), layers.Dense(5), layers.BatchNormalization(), layers.Dense(3)])

def compiled():
    model = functional()
    model.compile("adam", "mse", metrics=["mae"])
    model.fit(np.ones((4, 4)), np.ones((4, 3)), verbose=0)
    return model

class Trainer(tf.Module):
    "What no server calls, with the model inside."
    def __init__(self, model, optimizer=None):
        super().__init__()
        self.state = tf.Module()
        self.state.model, self.optimizer = model, optimizer

class Of(tf.Module):
    "The model as the attribute of a name."
    def __init__(self, name, model):
        super().__init__()
        setattr(self, name, model)
        self.model_of = model

    def __call__(self, x):
        return self.model_of(x)

OUTSIDE = random([3], 9)

class Outside(Dense):
    def __call__(self, x):
        return super().__call__(x) * OUTSIDE

class Counting(Dense):
    def __init__(self):
        super().__init__()
        self.count = tf.Variable(0.0)

    def __call__(self, x):
        return super().__call__(x) + self.count.assign_add(1.0)

class Looking(Dense):
    def __init__(self):
        super().__init__()
        keys, values = tf.constant([0, 1], tf.int64), tf.constant([2.0, 3.0])
        self.lookup = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), 1.0)

    def __call__(self, x):
        return super().__call__(x) * self.lookup.lookup(tf.cast(x[:, :1], tf.int64))

class Untied(tf.Module):
    def __init__(self, tied=False):
        super().__init__()
        self.one = random([4, 4], 1)
        self.two = self.one if tied else random([4, 4], 2)

    def __call__(self, x):
        return tf.matmul(tf.matmul(x, self.one), self.two)

def ema(variables, options):
    return Of("ema", Dense())

def wide(variables, options):
    return Dense(5)

def double(variables, options):
    return Dense(dtype="float64")

class Two(Dense):
    def __init__(self):
        super().__init__()
        self.more = Dense()
"""
for name in (
    "Dense",
    "Parts",
    "Reading",
    "Called",
    "Subclassed",
    "Outside",
    "Counting",
    "Looking",
    "Untied",
    "Two",
    "Listed",
):
    CODE += f"\ndef make_{name}(variables, options):\n    return {name}()\n"
for name in ("functional", "sequential", "compiled"):
    CODE += f"\ndef make_{name}(variables, options):\n    return {name}()\n"

X = np.random.RandomState(7).uniform(0, 3, (5, 4)).astype("float32")


@pytest.fixture(scope="module")
def code(tmp_path_factory):
    """The user's module, imported, and its folder."""
    folder = tmp_path_factory.mktemp("code")
    (folder / "their_objects.py").write_text(CODE)
    sys.path.insert(0, str(folder))
    import their_objects

    yield their_objects
    sys.path.remove(str(folder))
    del sys.modules["their_objects"]


@pytest.fixture
def export(run, tmp_path):
    def call(prefix, function, *options):
        arguments = ["--graph", "their_objects:" + function, "--checkpoint", prefix, "--input", "x[batch,4]"]
        return run("export", *arguments, "--output", "y=output", "-o", tmp_path / "base", *options)

    return call


def shaken(model):
    """The model with other numbers than those that it is made with, as training leaves them."""
    model(tf.constant(X))
    random = np.random.RandomState(11)
    variables = model.variables if hasattr(model, "layers") else list(tf.Module.variables.fget(model))
    if hasattr(model, "keras"):
        variables += model.keras.variables
    for variable in {id(variable): variable for variable in variables}.values():
        variable.assign(variable + random.uniform(0.1, 0.5, variable.shape).astype("float32"))
    return model


def whole(model):
    return tf.compat.v2.train.Checkpoint(model)


def with_optimizer(model):
    return tf.compat.v2.train.Checkpoint(net=model, optimizer=tf.keras.optimizers.Adam(), step=tf.Variable(3))


@pytest.mark.parametrize(
    "name, around",
    [
        ("Dense", "root"),
        ("Dense", "net"),
        ("Dense", "nested"),
        ("Parts", "root"),
        ("Parts", "net"),
        ("Reading", "root"),
        ("Called", "net"),
        ("Subclassed", "root"),
        ("Subclassed", "net"),
        ("functional", "root"),
        ("functional", "nested"),
        ("sequential", "root"),
        ("compiled", "root"),
        ("compiled", "net"),
    ],
)
def test_a_model_is_found_whatever_it_was_saved_in(export, tmp_path, code, name, around):
    """Written without a save counter, beside an optimizer and a step, below other objects; trained or not."""
    model = shaken(getattr(code, name)())
    if around == "nested":
        saved = tf.compat.v2.train.Checkpoint(trainer=code.Trainer(model, tf.keras.optimizers.Adam()))
    else:
        saved = whole(model) if around == "root" else with_optimizer(model)
    prefix = saved.write(str(tmp_path / "weights.03")) if around == "root" else saved.save(str(tmp_path / "ckpt"))
    old_server = [] if name == "Called" else ["--for-serving", "1.14"]  # of several branches TensorFlow 2 makes new ops
    result = export(prefix, "make_" + name, *old_server)
    assert result.exit_code == 0, result.output
    wanted = np.asarray(model(tf.constant(X), training=False) if hasattr(model, "layers") else model(tf.constant(X)))
    np.testing.assert_allclose(asked(tmp_path / "base" / "1", x=X)["y"], wanted, rtol=2e-5, atol=1e-5)
    untrained = getattr(code, name)()
    assert np.abs(np.asarray(untrained(tf.constant(X))) - wanted).max() > 1e-3
    saved_model = SavedModel()
    saved_model.ParseFromString((tmp_path / "base" / "1" / "saved_model.pb").read_bytes())
    graph_def = saved_model.meta_graphs[0].graph_def
    ops = {node.op for node in graph_def.node}
    assert "VariableV2" in ops and not ops & {
        "VarHandleOp",
        "ReadVariableOp",
        "ResourceGather",
        "While",
        "StatelessWhile",
    }
    assert not graph_def.library.function
    held = tf.train.NewCheckpointReader(str(tmp_path / "base" / "1" / "variables" / "variables"))
    assert set(held.get_variable_to_shape_map()) == {node.name for node in graph_def.node if node.op == "VariableV2"}


def test_a_compiled_model_needs_no_optimizer_in_its_checkpoint(export, tmp_path, code):
    """As save_weights leaves it: completeness is that of the model's own variables."""
    model = shaken(code.functional())
    prefix = whole(model).write(str(tmp_path / "weights"))
    result = export(prefix, "make_compiled")
    assert result.exit_code == 0, result.output
    wanted = np.asarray(model(X, training=False))
    np.testing.assert_allclose(asked(tmp_path / "base" / "1", x=X)["y"], wanted, rtol=2e-5, atol=1e-5)


def test_a_model_that_could_be_several_objects(export, tmp_path, code):
    """Which of two networks of one kind is meant, no name tells: both are named, and the way to say it works."""
    raw, average = shaken(code.Dense()), code.Dense()
    prefix = tf.compat.v2.train.Checkpoint(model=raw, ema=average).save(str(tmp_path / "ckpt"))
    result = export(prefix, "make_Dense")
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit), result.output
    assert "could be any of 2 objects in this checkpoint; return a tf.Module that has the model as its" in result.output
    assert "\n  - ema\n  - model\nMore: ckpt2saved explain " in result.output
    result = export(prefix, "ema")
    assert result.exit_code == 0, result.output
    np.testing.assert_allclose(asked(tmp_path / "base" / "1", x=X)["y"], np.asarray(average(X)), rtol=1e-5)


@pytest.mark.parametrize("is_one_object", [True, False])
def test_one_model_under_two_names_is_one_model(export, tmp_path, code, is_one_object):
    """Of Checkpoint(model=m, best=m), also where best is another object with the same variables."""
    model = best = shaken(code.Dense())
    if not is_one_object:
        best = code.Dense()
        best.kernel, best.bias = model.kernel, model.bias
    prefix = tf.compat.v2.train.Checkpoint(model=model, best=best).save(str(tmp_path / "ckpt"))
    result = export(prefix, "make_Dense")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    "function, problems",
    [
        ("wide", ["bias: found [3], expected [5]", "kernel: found [4, 3], expected [4, 5]"]),
        ("double", ["bias: found float32, expected float64"]),
        ("make_Two", ["more/bias: missing; expected [3]", "more/kernel: missing; expected [4, 3]"]),
        ("make_Untied", ["one: missing; expected [4, 4]", "two: missing; expected [4, 4]"]),
    ],
)
def test_what_does_not_fit_is_shown_as_names_and_shapes(export, tmp_path, code, function, problems):
    """No values, however large; nothing is published, not even in part."""
    prefix = with_optimizer(shaken(code.Dense())).save(str(tmp_path / "ckpt"))
    result = export(prefix, function)
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit), result.output
    lines = result.output.splitlines()
    assert "this checkpoint does not hold every variable of the model that the function returned" in lines[1]
    assert "under its root are net, optimizer, step" in lines[1]
    assert sorted(line[4:] for line in lines[2:-1]) == problems and lines[-1].startswith("More: ckpt2saved explain ")
    assert not list((tmp_path / "base").glob("[0-9]*"))


@pytest.mark.parametrize(
    "name, code_of_exit, said",
    [
        (
            "Outside",
            3,
            "[3]: a variable",
        ),
        ("Counting", 3, "(AssignAddVariableOp): it does more to model/count than read it"),
    ],
)
def test_what_is_more_than_the_variables_of_a_model_is_refused(export, tmp_path, code, name, code_of_exit, said):
    """A variable that is no part of the object, and state that answers change: in words."""
    model = getattr(code, name)()
    prefix = tf.compat.v2.train.Checkpoint(net=model).write(str(tmp_path / "ckpt"))
    result = export(prefix, "make_" + name)
    assert result.exit_code == code_of_exit and isinstance(result.exception, SystemExit), result.output
    assert said in result.output
    assert not list((tmp_path / "base").glob("[0-9]*"))


def test_a_lookup_table_of_a_model_is_served(export, tmp_path, code):
    """With what is in it as constants of the graph; the variables beside it stay variables."""
    model = shaken(code.Looking())
    prefix = tf.compat.v2.train.Checkpoint(net=model).write(str(tmp_path / "ckpt"))
    result = export(prefix, "make_Looking")
    assert result.exit_code == 0, result.output
    wanted = np.asarray(model(tf.constant(X)))
    np.testing.assert_allclose(asked(tmp_path / "base" / "1", x=X)["y"], wanted, rtol=2e-5, atol=1e-5)
    assert len(set(np.floor(X[:, 0]))) > 1  # it is not the default for all


def test_layers_in_a_list_of_a_keras_3_model(export, tmp_path, code):
    """No tf.train.Checkpoint has them: the model would answer with the numbers that it was made with."""
    model = shaken(code.Listed())
    prefix = with_optimizer(model).save(str(tmp_path / "ckpt"))
    keys = tf.train.NewCheckpointReader(prefix).get_variable_to_shape_map()
    result = export(prefix, "make_Listed")
    if any("blocks" in key for key in keys):
        assert result.exit_code == 0, result.output
        np.testing.assert_allclose(asked(tmp_path / "base" / "1", x=X)["y"], np.asarray(model(X)), rtol=1e-5)
    else:
        assert result.exit_code == 3 and "in Keras 3 those of layers in a list" in result.output


def test_variables_that_were_one_when_they_were_saved(export, tmp_path, code):
    """TensorFlow fills one of the two, and leaves the other as it was made, without a word."""
    prefix = whole(shaken(code.Untied(tied=True))).write(str(tmp_path / "ckpt"))
    result = export(prefix, "make_Untied")
    assert result.exit_code == 1 and "one and two: one variable in the checkpoint, 2 in the model" in result.output


@pytest.mark.parametrize("what", ["_CHECKPOINTABLE_OBJECT_GRAPH", "kernel"])
def test_a_damaged_object_based_checkpoint(export, tmp_path, code, what):
    """What says of the objects, and a variable."""
    model = shaken(code.Dense())
    prefix = tmp_path / "ckpt"
    whole(model).write(str(prefix))
    data = tmp_path / "ckpt.data-00000-of-00001"
    spoilt = b"VARIABLE_VALUE" if what.startswith("_") else np.asarray(model.kernel)[:2].tobytes()
    assert spoilt in data.read_bytes()
    data.write_bytes(data.read_bytes().replace(spoilt, spoilt[::-1]))
    result = export(prefix, "make_Dense")
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit), result.output
    assert f"this checkpoint is damaged; take another one, or copy it again\n  - {what}" in result.output


def inspected(run, prefix):
    """The page, with its spaces made one, and what --json says of the roles of variables."""
    page = run("inspect", prefix)
    found = run("inspect", prefix, "--json")
    assert (page.exit_code, found.exit_code) == (0, 0), page.output + found.output
    roles = {one["name"]: one["role"] for one in json.loads(found.output)["variables"]}
    return " ".join(page.output.split()), roles


def test_inspect_names_the_way_and_sorts_what_objects_hold(run, tmp_path, code):
    """A trained model beside its optimizer: weights under the model's name, whatever their keys are."""
    model = code.compiled()
    saved = tf.compat.v2.train.Checkpoint(
        net=model, optimizer=model.optimizer, step=tf.Variable(3), scale=tf.Variable(2.0)
    )
    page, roles = inspected(run, saved.save(str(tmp_path / "ckpt")))
    assert "(under its root: net, optimizer, scale, step) and no graph; export it with --graph MODULE:FUNCTION" in page
    assert "--model crnn" not in page and "step 3" in page
    of = {role: sorted(name for name in roles if roles[name] == role) for role in set(roles.values())}
    assert set(of) == {"weights", "batch-norm statistics", "optimizer slots", "counters"}
    assert len(of["weights"]) == 7 and all(name.startswith("net/") or name == "scale" for name in of["weights"])
    assert len(of["batch-norm statistics"]) == 2 and len(of["optimizer slots"]) == 12
    assert {"step", "save_counter"} <= set(of["counters"])


def test_inspect_knows_the_slots_of_older_optimizers(run, tmp_path):
    """As Keras up to TensorFlow 2.10 wrote them, and layers by their numbers."""
    value = "/.ATTRIBUTES/VARIABLE_VALUE"
    kernel = "net/layer_with_weights-0/kernel"
    names = [kernel, kernel + "/.OPTIMIZER_SLOT/optimizer/m", "net/layer_with_weights-1/moving_mean"]
    held = {name + value: np.ones(3, "float32") for name in names}
    held["optimizer/learning_rate" + value] = np.array(0.1, "float32")
    held["optimizer/iter" + value] = np.array(12, "int64")
    held["_CHECKPOINTABLE_OBJECT_GRAPH"] = np.array(b"", object)
    page, roles = inspected(run, write_checkpoint(tmp_path / "ckpt-1", held))
    assert roles == {
        kernel: "weights",
        kernel + "/.OPTIMIZER_SLOT/optimizer/m": "optimizer slots",
        "net/layer_with_weights-1/moving_mean": "batch-norm statistics",
        "optimizer/learning_rate": "counters",
        "optimizer/iter": "counters",
    }
    assert "optimizer slots (m of optimizer)" in page and "step 12" in page
