"""State that is no variable: what a checkpoint holds of lookup tables is what is served, and nothing else passes for it."""

from __future__ import annotations

import json
import textwrap

import numpy as np
import pytest

pytest.importorskip("tensorflow")

from ckpt2saved.graph.tf1 import tf, v1_control_flow

IS_1 = tf.__version__.startswith("1.")


def mutable(key_dtype, value_dtype, default, **options):
    """A MutableHashTable of this TensorFlow, which is contrib's in TensorFlow 1."""
    try:
        from tensorflow.python.ops.lookup_ops import MutableHashTable
    except ImportError:
        from tensorflow.contrib.lookup import MutableHashTable
    return MutableHashTable(key_dtype, value_dtype, default, **options)


def dense(key_dtype, value_dtype, default, **options):
    try:
        from tensorflow.python.ops.lookup_ops import DenseHashTable as Table
    except ImportError:
        from tensorflow.contrib.lookup import MutableDenseHashTable as Table
    return Table(key_dtype, value_dtype, default, empty_key=-1, deleted_key=-2, **options)


class Training:
    """A graph that looks words up, and whose training added some; what it answers is what must be served."""

    def __init__(self, keys, values, kind=mutable, default=-1, more=lambda ids: ids, checkpoint=True):
        self.keys, self.values = np.asarray(keys), np.asarray(values)
        self.key_dtype = tf.string if self.keys.dtype.kind in "SO" else tf.as_dtype(self.keys.dtype)
        self.value_dtype = tf.string if self.values.dtype.kind in "SO" else tf.as_dtype(self.values.dtype)
        self.words = tf.placeholder(self.key_dtype, [None], name="words")
        self.table = kind(self.key_dtype, self.value_dtype, default, name="vocab", checkpoint=checkpoint)
        found = tf.identity(self.table.lookup(self.words), name="ids")
        weights = tf.get_variable("weights", [3], use_resource=False)
        if self.value_dtype.is_floating:
            tf.add(more(found), tf.reduce_sum(weights), name="out")
        self.pairs = tf.placeholder(self.key_dtype, [None]), tf.placeholder(self.value_dtype)
        self.insert = self.table.insert(*self.pairs)

    def save(self, directory, asked, fetched="ids", variables=None, first=(), **options):
        """The prefix of the checkpoint, and what the trained graph answers."""
        everything = tf.global_variables() + tf.get_collection(tf.GraphKeys.SAVEABLE_OBJECTS)
        saver = tf.train.Saver(everything if variables is None else variables, **options)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            session.run(first)
            if len(self.keys):
                session.run(self.insert, dict(zip(self.pairs, (self.keys, self.values))))
            answers = session.run(fetched + ":0", {self.words: asked})
            return saver.save(session, str(directory / "model")), answers


def served(directory, asked, fetched="ids"):
    with tf.Graph().as_default(), tf.Session() as session:
        definition = tf.saved_model.loader.load(session, ["serve"], str(directory)).signature_def["serving_default"]
        return session.run(definition.outputs[fetched].name, {definition.inputs["words"].name: asked})


def as_json(result):
    return json.loads(result.stdout if hasattr(result, "stdout") else result.output)


def export(run, prefix, base, *options, fetched="ids"):
    return run("export", "--checkpoint", prefix, "--input", "words", "--output", fetched, "-o", base, *options)


@pytest.fixture
def graph():
    with tf.Graph().as_default() as graph, v1_control_flow():
        yield graph


@pytest.mark.parametrize(
    ("keys", "values", "kind", "default", "asked"),
    [
        ([b"a", b"b"], np.array([2, 3]), mutable, -1, [b"b", b"a", b"<pad>"]),
        (np.array([7, 9]), np.array([0.5, 0.25], np.float32), mutable, -1.0, [9, 7, 8]),
        (np.array([7, 9]), np.array([[1, 2], [3, 4]], np.float32), mutable, [0.0, 0.0], [9, 8]),
        (np.array([7, 9]), np.array([b"x", b"y"]), mutable, "?", [9, 7, 8]),
        (np.array([7, 9]), np.array([0.5, 0.25], np.float32), dense, -1.0, [9, 7, 8]),
        (np.array([], np.int64), np.array([], np.float32), mutable, -1.0, [9, 7]),
    ],
    ids=["text-to-int", "int-to-float", "vectors", "int-to-text", "dense", "empty"],
)
def test_a_table_is_what_the_checkpoint_holds(run, tmp_path, graph, keys, values, kind, default, asked):
    training = Training(keys, values, kind, default)
    prefix, answers = training.save(tmp_path, asked)
    strings = tf.string in (training.key_dtype, training.value_dtype)  # which take a process of their own
    result = export(run, prefix, tmp_path / "base", "--no-warmup", "--no-parity" if strings else "--parity")
    assert result.exit_code == 0, result.output
    assert served(tmp_path / "base" / "1", asked).tolist() == answers.tolist()


def test_what_the_graph_inserts_before_the_training_is_left_out(run, tmp_path, graph):
    """The training overwrote one of two constants; the version and what it is compared with know the new value."""
    training = Training(np.array([7, 9]), np.array([0.5, 0.25], np.float32), default=-1.0)
    first = training.table.insert(tf.constant([7, 8], tf.int64), tf.constant([5.0, 6.0]))
    asked = [7, 8, 9, 10]
    prefix, answers = training.save(tmp_path, asked, "out", first=first)
    result = export(run, prefix, tmp_path / "base", fetched="out")
    assert result.exit_code == 0, result.output
    version = tmp_path / "base" / "1"
    assert served(version, asked, "out").tolist() == answers.tolist()
    again = run("verify", version, "--checkpoint", prefix, "--input", "words", "--output", "out")
    assert again.exit_code == 0, again.output


@pytest.mark.parametrize("options", [{"sharded": True}, {"write_version": tf.train.SaverDef.V1}], ids=str)
def test_however_the_saver_writes(run, tmp_path, graph, options):
    training = Training(np.array([7, 9]), np.array([0.5, 0.25], np.float32), default=-1.0)
    prefix, answers = training.save(tmp_path, [9, 8], "out", **options)
    result = export(run, prefix, tmp_path / "base", fetched="out")
    assert result.exit_code == 0, result.output
    assert served(tmp_path / "base" / "1", [9, 8], "out").tolist() == answers.tolist()


def test_a_table_that_no_answer_reads_is_ignored(run, tmp_path, graph):
    training = Training(np.array([7]), np.array([0.5], np.float32), default=-1.0)
    tf.add(tf.cast(training.words, tf.float32), tf.reduce_sum(tf.global_variables()[0]), name="other")
    prefix, _ = training.save(tmp_path, [7])
    result = export(run, prefix, tmp_path / "base", fetched="other")
    assert result.exit_code == 0, result.output
    names = [name for name, _ in tf.train.list_variables(str(tmp_path / "base" / "1" / "variables" / "variables"))]
    assert names == ["weights"]


def test_a_table_that_the_saver_left_out_is_refused(run, tmp_path, graph):
    """The constants are there, and what the training added is nowhere."""
    training = Training(np.array([7]), np.array([0.5], np.float32), default=-1.0)
    first = training.table.insert(tf.constant([8], tf.int64), tf.constant([6.0]))
    prefix, _ = training.save(tmp_path, [7], first=first, variables=tf.global_variables())
    result = export(run, prefix, tmp_path / "base", fetched="out")
    assert result.exit_code == 3
    assert "vocab (MutableHashTableV2)" in result.output and "no Saver of the graph saves it" in result.output
    assert not (tmp_path / "base").exists()


def test_a_checkpoint_without_the_table_is_refused(run, tmp_path, graph):
    training = Training(np.array([7]), np.array([0.5], np.float32), default=-1.0)
    prefix, _ = training.save(tmp_path, [7])
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        other = tf.train.Saver(tf.global_variables()).save(session, str(tmp_path / "other"), write_meta_graph=False)
    result = export(run, other, tmp_path / "base", "--graph", prefix + ".meta", fetched="out")
    assert result.exit_code == 1
    assert "vocab-keys: missing; the lookup table vocab (MutableHashTableV2) is restored from it" in result.output
    assert "vocab-values: missing" in result.output


def test_inspect_knows_tables(run, tmp_path, graph):
    """What is in them is no stray tensor, and one that would lack entries is a problem."""
    images = tf.placeholder(tf.float32, [None, 4], name="images")
    training = Training(np.array([7]), np.array([0.5], np.float32), default=-1.0)
    first = training.table.insert(tf.constant([8], tf.int64), tf.constant([6.0]))
    made = tf.matmul(images, tf.get_variable("matrix", [4, 3], use_resource=False))
    training.table.lookup(tf.argmax(made, 1), name="text")
    saved, _ = training.save(tmp_path, [7], first=first)
    content = as_json(run("inspect", saved, "--json"))
    assert content["unused"] == [] and content["graph"]["problems"] == [] and content["graph"]["tables"] == ["vocab"]
    (tmp_path / "without").mkdir()
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        graph.clear_collection(tf.GraphKeys.SAVEABLE_OBJECTS)
        other = tf.train.Saver(tf.global_variables()).save(session, str(tmp_path / "without" / "model"))
    problems = as_json(run("inspect", other, "--json"))["graph"]["problems"]
    assert any("no Saver of the graph saves it" in problem for problem in problems)


def saveable_base():
    try:
        from tensorflow.python.training.saving.saveable_object import SaveableObject, SaveSpec
    except ImportError:
        from tensorflow.python.training.saver import BaseSaverBuilder

        return BaseSaverBuilder.SaveableObject, BaseSaverBuilder.SaveSpec
    return SaveableObject, SaveSpec


def test_what_a_saver_computes_of_the_checkpoint_is_refused(run, tmp_path, graph):
    """A square matrix is saved transposed under its own name, so that its shape fits, and its numbers would be wrong."""
    base, spec = saveable_base()
    matrix = tf.get_variable("matrix", [2, 2], use_resource=False)

    class Transposed(base):
        def __init__(self):
            super().__init__(matrix, [spec(tf.transpose(matrix), "", "matrix")], "matrix")

        def restore(self, tensors, shapes):
            return tf.assign(matrix, tf.transpose(tensors[0]))

    words = tf.placeholder(tf.float32, [None, 2], name="words")
    tf.matmul(words, matrix, name="out")
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        prefix = tf.train.Saver([Transposed()]).save(session, str(tmp_path / "model"))
    result = export(run, prefix, tmp_path / "base", fetched="out")
    assert result.exit_code == 3, result.output
    assert "matrix (" in result.output and "from what it computes of the checkpoint's tensors" in result.output


def test_other_state_is_refused(run, tmp_path, graph):
    """A table that can be filled once only, by a Saver of one's own."""
    base, spec = saveable_base()
    table = tf.raw_ops.HashTableV2(key_dtype=tf.int64, value_dtype=tf.float32, shared_name="once", name="once")
    names = [("once-keys", tf.int64), ("once-values", tf.float32)]

    class Once(base):
        def __init__(self):
            held = [tf.constant([7], tf.int64), tf.constant([0.5])]
            super().__init__(table, [spec(tensor, "", name) for tensor, (name, _) in zip(held, names)], "once")

        def restore(self, tensors, shapes):
            return tf.raw_ops.InitializeTableV2(table_handle=table, keys=tensors[0], values=tensors[1])

    words = tf.placeholder(tf.int64, [None], name="words")
    found = tf.raw_ops.LookupTableFindV2(table_handle=table, keys=words, default_value=tf.constant(-1.0))
    weights = tf.get_variable("weights", [3], use_resource=False)
    tf.add(found, tf.reduce_sum(weights), name="out")
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        prefix = tf.train.Saver([weights, Once()]).save(session, str(tmp_path / "model"))
    result = export(run, prefix, tmp_path / "base", fetched="out")
    assert result.exit_code == 3, result.output
    assert "once (HashTableV2): the training's restore op fills it by" in result.output


MODULE = """
    import tensorflow.compat.v1 as tf
    try:
        from tensorflow.python.ops.lookup_ops import MutableHashTable
    except ImportError:
        from tensorflow.contrib.lookup import MutableHashTable

    def words(variables, options):
        asked = tf.placeholder(tf.int64, [None])
        table = MutableHashTable(tf.int64, tf.float32, -1.0, name="vocab", checkpoint=options.get("checkpoint", True))
        weights = tf.get_variable("weights", [3], use_resource=False)
        return {"words": asked, "out": table.lookup(asked) + tf.reduce_sum(weights)}

    def fixed(variables, options):
        asked = tf.placeholder(tf.int64, [None])
        pairs = tf.lookup.KeyValueTensorInitializer(tf.constant([7, 9], tf.int64), tf.constant([0.5, 0.25]))
        table = tf.lookup.StaticHashTable(pairs, -1.0)
        weights = tf.get_variable("weights", [3], use_resource=False)
        return {"words": asked, "out": table.lookup(asked) + tf.reduce_sum(weights)}
"""


@pytest.fixture
def module(tmp_path, request):
    """A module of its own name, so that no other test's is found."""
    name = f"tables_{abs(hash(request.node.name))}"
    (tmp_path / (name + ".py")).write_text(textwrap.dedent(MODULE))
    return name


@pytest.mark.parametrize("function", ["words", "fixed"])
def test_tables_of_a_function_are_filled(run, tmp_path, graph, module, function):
    """From the checkpoint where a saveable object says so, otherwise from the graph."""
    training = Training(np.array([7, 9]), np.array([0.5, 0.25], np.float32), default=-1.0)
    prefix, answers = training.save(tmp_path, [9, 8, 7], "out")
    options = ["--graph", module + ":" + function, "--python-path", tmp_path, "--input", "words=words[batch]"]
    result = run("export", "--checkpoint", prefix, *options, "--output", "out=out", "-o", tmp_path / "base")
    assert result.exit_code == 0, result.output
    assert served(tmp_path / "base" / "1", [9, 8, 7], "out").tolist() == answers.tolist()


def test_a_table_of_a_function_that_nothing_fills_is_refused(run, tmp_path, graph, module):
    training = Training(np.array([7]), np.array([0.5], np.float32), default=-1.0)
    prefix, _ = training.save(tmp_path, [7])
    options = ["--graph", module + ":words", "--python-path", tmp_path, "--input", "words=words[batch]"]
    options += ["--option", "checkpoint=false", "--output", "out=out"]
    result = run("export", "--checkpoint", prefix, *options, "-o", tmp_path / "base")
    assert result.exit_code == 3
    assert "nothing in the graph fills this lookup table" in result.output


OBJECT = """
    import tensorflow as tf

    class Words(tf.Module):
        def __init__(self, static):
            self.weights = tf.Variable(tf.ones([3]))
            pairs = tf.lookup.KeyValueTensorInitializer(tf.constant([7, 9], tf.int64), tf.constant([0.5, 0.25]))
            self.table = (
                tf.lookup.StaticHashTable(pairs, -1.0)
                if static
                else tf.lookup.experimental.MutableHashTable(tf.int64, tf.float32, -1.0)
            )

        def __call__(self, words):
            return {"out": self.table.lookup(tf.cast(words, tf.int64)) + tf.reduce_sum(self.weights)}

    def make(variables, options):
        return Words(options.get("static", False))
"""


@pytest.mark.skipif(IS_1, reason="model objects are TensorFlow 2's")
@pytest.mark.parametrize("static", [False, True])
def test_tables_of_a_model_object(run, tmp_path, static):
    """What the checkpoint holds of a mutable one; a static one makes its contents itself."""
    import importlib
    import sys

    import tensorflow

    name = f"object_tables_{static}"
    (tmp_path / (name + ".py")).write_text(textwrap.dedent(OBJECT))
    sys.path.insert(0, str(tmp_path))
    try:
        made = importlib.import_module(name).Words(static)
    finally:
        sys.path.remove(str(tmp_path))
    if not static:
        made.table.insert(tensorflow.constant([7, 9], tf.int64), tensorflow.constant([0.5, 0.25]))
    prefix = tensorflow.train.Checkpoint(model=made).save(str(tmp_path / "object"))
    options = ["--graph", name + ":make", "--python-path", tmp_path, "--option", f"static={static}".lower()]
    options += ["--input", "words=words[batch]", "--output", "out=out"]
    result = run("export", "--checkpoint", prefix, *options, "-o", tmp_path / "base")
    assert result.exit_code == 0, result.output
    assert served(tmp_path / "base" / "1", [9, 8, 7], "out").tolist() == [3.25, 2.0, 3.5]


@pytest.mark.skipif(IS_1, reason="model objects are TensorFlow 2's")
def test_the_loader_of_tensorflow_2_fills_tables_too(run, tmp_path):
    import tensorflow

    with tf.Graph().as_default():
        training = Training(np.array([7, 9]), np.array([0.5, 0.25], np.float32), default=-1.0)
        prefix, answers = training.save(tmp_path, [9, 8], "out")
    assert export(run, prefix, tmp_path / "base", fetched="out").exit_code == 0
    loaded = tensorflow.saved_model.load(str(tmp_path / "base" / "1"))
    answered = loaded.signatures["serving_default"](words=tensorflow.constant([9, 8], tf.int64))
    assert answered["out"].numpy().tolist() == answers.tolist()
