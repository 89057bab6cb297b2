"""A graph from the user's own function: TF 1 code by name, a TensorFlow 2 model object with its own checkpoint."""

from __future__ import annotations

import json
import re
import sys

import numpy as np
import pytest

from ckpt2saved.graph.tf1 import SavedModel, tf
from tests.support.checkpoints import write_checkpoint
from tests.support.saved_models import asked

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


def failure(result):
    """The JSON of a command that failed."""
    return json.loads(result.output[: result.output.rindex("}") + 1])


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


def test_ones_own_function_may_pin_to_a_gpu(run, tmp_path, module, kernel):
    """Where the export runs there need not be one, nor where it is served."""
    pinned = GRAPH.replace("    kernel =", '    with tf.device("/device:GPU:0"):\n        kernel =')
    module.write_text(pinned)
    prefix = write_checkpoint(tmp_path / "model", {"conv/w": kernel})
    arguments = ["--graph", "my_network:build", "--checkpoint", prefix, "--input", "images", "--output", "features"]
    result = exported(run, tmp_path, module, *arguments)
    assert result.exit_code == 0, result.output
    assert re.search("devices     [0-9]+ nodes? pinned to /device:GPU:0; cleared", result.output)


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
        ("my_network", 1, "'my_network' is not built in; there are crnn, ctpn, ocr; a function of your own is"),
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


FILE = """
format: 1
graph: {builder: "BUILDER"}
signatures:
  serving_default:
    inputs: {image: {tensor: images, dtype: float32, shape: [batch, 8, width, 1]}}
    outputs: {features: {dtype: float32, shape: [batch, 8, width, 2]}}
parity: [{dims: {batch: 2, width: 9}, inputs: {image: {uniform: [0, 1]}}}]
"""


@pytest.mark.parametrize("builder", ["os:system", "my_network:build", "subprocess:check_output"])
def test_a_file_alone_runs_no_code(run, tmp_path, module, kernel, builder):
    """Exit 2, before the module is looked for, in export and in verify; --graph or --allow-code is the user's word."""
    module.write_text("raise SystemExit('this was run')")
    signature = tmp_path / "mine.yaml"
    signature.write_text(FILE.replace("BUILDER", builder))
    prefix = write_checkpoint(tmp_path / "model", {"conv/w": kernel})
    result = exported(run, tmp_path, module, "--model", signature, "-c", prefix)
    assert result.exit_code == 2 and f"pass --graph {builder}, or --allow-code" in result.output, result.output
    (tmp_path / "base" / "1").mkdir(parents=True)
    result = run("verify", tmp_path / "base" / "1", "--model", signature, "-c", prefix)
    assert result.exit_code == 2 and "--allow-code" in result.output


@pytest.mark.parametrize("word", [["--allow-code"], ["--graph", "my_network:build"]])
def test_a_files_function_runs_at_the_users_word(run, tmp_path, module, kernel, word):
    """With the signatures of the file."""
    module.write_text(GRAPH)
    (tmp_path / "mine.yaml").write_text(FILE.replace("BUILDER", "my_network:build"))
    prefix = write_checkpoint(tmp_path / "model", {"conv/w": kernel})
    result = exported(run, tmp_path, module, "--model", tmp_path / "mine.yaml", "-c", prefix, *word)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("builder", ["..x:y", ":", "os.path:", ":x", "a b:c", "os:system('x')", "a:b:c", "a..b:c"])
def test_what_is_no_name_of_a_function(run, tmp_path, module, kernel, builder):
    """In a file and on the command line."""
    (tmp_path / "mine.yaml").write_text(FILE.replace("BUILDER", builder))
    prefix = write_checkpoint(tmp_path / "model", {"conv/w": kernel})
    result = exported(run, tmp_path, module, "--model", tmp_path / "mine.yaml", "-c", prefix, "--allow-code")
    assert result.exit_code == 1 and "or package.module:function is expected; found" in result.output, result.output
    arguments = ["--graph", builder, "-c", prefix, "--input", "images", "--output", "features"]
    result = exported(run, tmp_path, module, *arguments)
    assert result.exit_code == 2 and "expected package.module:function" in result.output, result.output


EVIL = "open({!r}, 'a').write(__name__ + ' ')\nraise ImportError('not the standard library')\n"


def test_nothing_beside_the_users_module_stands_in_for_the_standard_library(run, tmp_path, module, kernel, monkeypatch):
    """Neither in this process nor in the one that loads the SavedModel; the module itself may have any name."""
    folder = module.parent
    for name in ("tempfile", "bz2", "cgi", "chunk", "sndhdr", "pickle", "encodings", "this", "zipapp"):
        (folder / (name + ".py")).write_text(EVIL.format(str(tmp_path / "executed")))
    (folder / "sibling_of_mine.py").write_text("SCALE = 3.0")
    (folder / "nturl2path.py").write_text(GRAPH.replace("def build", "import zipapp, sibling_of_mine\n\ndef build"))
    prefix = write_checkpoint(tmp_path / "model", {"conv/w": kernel})
    monkeypatch.chdir(folder)
    arguments = ["--graph", "nturl2path:build", "-c", prefix, "--input", "image=images", "--output", "features"]
    result = exported(run, tmp_path, module, *arguments)
    sys.modules.pop("nturl2path", None)
    assert result.exit_code == 0, result.output
    version = tmp_path / "base" / "1"
    from ckpt2saved.answers.new_process import loaded_in_new_process
    from ckpt2saved.requests.request import Request

    image = np.zeros((2, 8, 9, 1), "float32")
    with loaded_in_new_process(version) as files:
        answers = files.answer(Request("one", "serving_default", {"image": image}))
    assert answers["features"].shape == (2, 8, 9, 2)
    assert not (tmp_path / "executed").exists()
    assert str(folder) not in sys.path


def test_a_module_of_the_working_directory_is_found(run, tmp_path, module, kernel, monkeypatch):
    """Without --python-path, as `python -m` has it, and behind everything else."""
    module.write_text(GRAPH)
    prefix = write_checkpoint(tmp_path / "model", {"conv/w": kernel})
    monkeypatch.chdir(module.parent)
    arguments = ["--graph", "my_network:build", "-c", prefix, "--input", "image=images", "--output", "features"]
    result = run("export", *arguments, "-o", tmp_path / "base")
    assert result.exit_code == 0, result.output


NORMALISED = """
import tensorflow.compat.v1 as tf

def build(variables, options):
    rows = tf.placeholder(tf.float32, [None, 6], name="rows")
    gamma, mean, variance = [tf.get_variable("bn/" + name, [6]) for name in ("gamma", "moving_mean", "moving_variance")]
    normal = lambda mean, variance: tf.nn.batch_normalization(rows, mean, variance, None, gamma, 1e-3)
    of_batch = lambda: normal(*tf.nn.moments(rows, [0]))
    of_training = lambda: normal(mean, variance)
    mode = options["mode"]
    if mode == "training":
        answer = of_batch()
    elif mode == "shifted":
        answer = (rows - tf.reduce_mean(rows, 0)) * gamma + mean + variance
    elif mode == "loop":
        answer = tf.while_loop(lambda i, x: i < 2, lambda i, x: [i + 1, x + of_batch()], [0, rows])[1]
    elif mode == "inference":
        answer = of_training()
    elif mode == "switch":
        is_training = tf.placeholder_with_default(options["train"], [], name="is_training")
        answer = tf.cond(is_training, of_batch, of_training)
    elif mode == "layer":
        answer = tf.nn.batch_normalization(of_training(), *tf.nn.moments(rows, [1], keepdims=True), None, None, 1e-3)
    elif mode == "offsets":
        answer = of_training() - tf.reshape(tf.placeholder_with_default([1.0] * 6, None), [6])
    elif mode == "instance":
        maps = tf.reshape(of_training(), [-1, 3, 2, 1])
        answer = tf.nn.batch_normalization(maps, *tf.nn.moments(maps, [1, 2], keepdims=True), None, None, 1e-3)
    return {"rows": rows, "answer": answer}
"""


def normalised(run, tmp_path, module, *options):
    """The result of an export of NORMALISED, and what its statistics are in the checkpoint."""
    module.write_text(NORMALISED)
    random = np.random.RandomState(3)
    trained = {"bn/" + name: random.uniform(1, 2, 6).astype("float32") for name in ("gamma", "moving_mean")}
    trained["bn/moving_variance"] = random.uniform(4, 9, 6).astype("float32")
    prefix = write_checkpoint(tmp_path / "model", trained)
    arguments = ["--graph", "my_network:build", "--checkpoint", prefix, "--input", "rows", "--output", "answer"]
    return exported(run, tmp_path, module, *arguments, *options), trained


@pytest.mark.parametrize("mode", ["training", "shifted", "loop", "switch"])
def test_batch_norm_in_training_mode_of_ones_own_function_is_refused(run, tmp_path, module, mode):
    """It loads and answers, each row by what else is in the batch; who means it says so."""
    options = ["--option", "mode=" + mode, "--option", "train=true"]
    result, trained = normalised(run, tmp_path, module, *options, "--json", "-q")
    problems = failure(result)["problem_details"]
    assert result.exit_code == 3 and {problem["code"] for problem in problems} == {"batch-statistics"}
    assert all("(Mean)" in problem["text"] for problem in problems)
    assert not (tmp_path / "base" / "1").exists()
    result, _ = normalised(run, tmp_path, module, *options, "--keep-training-ops")
    assert result.exit_code == 0, result.output
    rows = np.random.RandomState(1).standard_normal((5, 6)).astype("float32")
    naive = [asked(tmp_path / "base" / "1", rows=part)["answer"] for part in (rows, rows[:2])]
    assert np.abs(naive[0][:2] - naive[1]).max() > 0.1
    wanted = (rows - trained["bn/moving_mean"]) / np.sqrt(trained["bn/moving_variance"] + 1e-3) * trained["bn/gamma"]
    assert np.abs(naive[0] - wanted).max() > 0.1


@pytest.mark.parametrize("mode", ["inference", "switch", "offsets", "layer", "instance"])
def test_what_normalises_each_item_by_itself_is_served(run, tmp_path, module, mode):
    """Moving statistics, also where a switch that nobody feeds chooses them; norms of a layer and of an instance."""
    result, _ = normalised(run, tmp_path, module, "--option", "mode=" + mode, "--option", "train=false")
    assert result.exit_code == 0, result.output
    rows = np.random.RandomState(1).standard_normal((5, 6)).astype("float32")
    together, alone = [asked(tmp_path / "base" / "1", rows=part)["answer"] for part in (rows, rows[:2])]
    np.testing.assert_allclose(together[:2], alone, rtol=1e-5)


DECODED = """
import tensorflow.compat.v1 as tf

def build(variables, options):
    images = tf.placeholder(tf.float32, [None, 8, None, 2], name="images")
    steps = tf.placeholder(tf.int32, [None], name="steps")
    logits = tf.tensordot(tf.reduce_sum(images, 1), tf.get_variable("fc/kernel", [2, 5]), 1)
    logits = tf.ensure_shape(logits, [None, None, 5])
    if options["first"] == "time":
        logits = tf.transpose(logits, [1, 0, 2])
    if options.get("softmax"):
        logits = tf.nn.softmax(logits)
    return {"images": images, "steps": steps, "logits": logits, "ids": steps}
"""


def beam_search(logits, lengths, width):
    """The answers of TensorFlow's decoder to logits [time, batch, classes]: a text for each line."""
    with tf.Graph().as_default(), tf.Session() as session:
        (best,), score = tf.nn.ctc_beam_search_decoder(logits, lengths, beam_width=width, merge_repeated=False)
        best, score = session.run([best, score])
    return [best.values[best.indices[:, 0] == line].tolist() for line in range(len(lengths))], score[:, 0]


@pytest.fixture
def weights(tmp_path):
    """The matrix of the network above, and a checkpoint of it that calls it as older layers do."""
    matrix = np.random.RandomState(3).standard_normal((2, 5)).astype("float32") * 3
    return matrix, write_checkpoint(tmp_path / "model", {"fc/weights": matrix})


@pytest.mark.parametrize("options", [["first=time"], ["first=batch"], ["first=batch", "softmax=true"]])
def test_a_decoder_after_ones_own_function(run, tmp_path, module, weights, options):
    """Whichever dimension is the batch's, and of probabilities too; the variables are mapped to the checkpoint's names."""
    module.write_text(DECODED)
    matrix, prefix = weights
    arguments = ["--graph", "my_network:build", "--checkpoint", prefix, "--input", "images", "--input", "steps"]
    arguments += ["--decode", "logits", "--beam-width", "4", "--sequence-length", "steps"]
    arguments += [word for option in options for word in ("--option", option)]
    result = exported(run, tmp_path, module, *arguments)
    assert result.exit_code == 1 and "--map 'kernel$=weights' finds 1 of them" in result.output, result.output
    result = exported(run, tmp_path, module, *arguments, "--map", "kernel$=weights")
    assert result.exit_code == 0, result.output
    notes = {
        "[batch, time, classes], transposed for the decoder": "first=batch" in options,
        "probabilities; the decoder gets their logarithm": "softmax=true" in options,
        "note        ids: of the decoder that is appended, not the builder's": True,
    }
    assert {note: note in result.output for note in notes} == notes, result.output
    images, steps = (
        np.random.RandomState(1).standard_normal((3, 8, 9, 2)).astype("float32"),
        np.array([9, 4, 1], "int32"),
    )
    logits = (images.sum(1) @ matrix).transpose(1, 0, 2)
    texts, score = beam_search(logits, steps, 4)
    found = asked(tmp_path / "base" / "1", "dense", images=images, steps=steps)
    assert [row[row >= 0].tolist() for row in found["ids"]] == texts and any(texts)
    np.testing.assert_allclose(found["score"], score, rtol=1e-4, atol=1e-5)
    sparse = asked(tmp_path / "base" / "1", images=images, steps=steps)
    assert sparse["output_values"].tolist() == [label for text in texts for label in text]
    # As the decoder takes them otherwise: nine lines of three steps.
    naive = logits.transpose(1, 0, 2)
    assert [text[:1] for text in beam_search(naive, [3] * 9, 4)[0][:3]] != [text[:1] for text in texts]


@pytest.mark.parametrize(
    "arguments, code, said",
    [
        (
            ["--decode", "logit"],
            1,
            "--decode logit: the graph has no such tensor; the builder names ids, images, logits",
        ),
        (
            ["--decode", "images"],
            2,
            "--decode images: logits are floats [time, batch, classes]; this is float32 (?, 8,",
        ),
        (
            ["--decode", "logits", "--sequence-length", "images"],
            2,
            "sequence lengths are integers [batch]; this is",
        ),
        (["--output", "nonsense"], 1, "the graph has no tensor 'nonsense'; the builder names ids, images, logits"),
        (["--output", "logits", "--set", "a=1"], 2, "--set: only for a training's graph (--graph meta)"),
    ],
)
def test_what_no_builder_can_do_is_refused(run, tmp_path, module, weights, arguments, code, said):
    """Each option with what it is for."""
    module.write_text(DECODED)
    command = ["--graph", "my_network:build", "--checkpoint", weights[1], "--map", "kernel$=weights", *arguments]
    result = exported(run, tmp_path, module, *command, "--option", "first=time", "--input", "images")
    assert result.exit_code == code, result.output
    assert said in result.output.replace("(None, 8", "(?, 8")


def test_another_decoder_for_a_built_in_network(run, tmp_path, crnn_checkpoint):
    """Its own stays behind; a built-in network has no names to map."""
    command = ["export", "--model", "crnn", "--checkpoint", crnn_checkpoint, "-o", tmp_path / "m"]
    decode = ["--decode", "logits", "--beam-width", "3", "--sequence-length", "input_batch_size"]
    result = run(*command, *decode)
    assert result.exit_code == 0, result.output
    assert "decoder     fast in place of CTCBeamSearchDecoder_1 (beam_width 3)" in result.output
    assert "ids, lengths, output_indices, output_shape, output_values, score: of the decoder that is" in result.output
    images, steps = (
        np.random.RandomState(1).uniform(0, 255, (2, 32, 40, 3)).astype("float32"),
        np.array([10, 7], "int32"),
    )
    found = asked(tmp_path / "m" / "1", "dense", input_data=images, input_batch_size=steps)
    again = run(*command, "--option", "beam_width=3", "--no-parity", "--no-warmup")
    assert again.exit_code == 0, again.output
    wanted = asked(tmp_path / "m" / "2", "dense", input_data=images, input_batch_size=steps)
    np.testing.assert_array_equal(found["ids"], wanted["ids"])
    mapped = run(*command, "--map", "a=b")
    assert mapped.exit_code == 2 and "--map: crnn is built from the names in its checkpoint" in mapped.output


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

class Centred(tf.Module):
    def __init__(self, variables, options):
        super().__init__()
        self.model = build()

    def __call__(self, image):
        rows = self.model(image, training=False)
        return rows - tf.reduce_mean(rows, axis=0)

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
def test_a_decoder_after_a_keras_model(run, tmp_path, object_checkpoint):
    """Keras has the batch in front: proven by the graph, and turned."""
    prefix, model = object_checkpoint
    tf.compat.v2.train.Checkpoint(model=model).restore(
        prefix
    ).expect_partial()  # a call in training mode moves averages
    arguments = ["--graph", "my_models:build", "--checkpoint", prefix, "--input", "image[batch,8,12,1]"]
    arguments += ["--output", "logits=output"]
    result = run("export", *arguments, "-o", tmp_path / "base", "--decode", "output", "--beam-width", "3")
    assert result.exit_code == 0, result.output
    assert "note        output: [batch, time, classes], transposed for the decoder" in result.output
    image = np.random.RandomState(5).uniform(0, 1, (3, 8, 12, 1)).astype("float32")
    logits = asked(tmp_path / "base" / "1", image=image)["logits"]
    np.testing.assert_allclose(logits, np.asarray(model(image, training=False)), atol=1e-5)
    logits = logits.transpose(1, 0, 2)  # the served ones: of some texts only the last bit tells which is likelier
    texts, score = beam_search(logits, [12] * 3, 3)
    found = asked(tmp_path / "base" / "1", "dense", image=image)
    assert [row[row >= 0].tolist() for row in found["ids"]] == texts
    np.testing.assert_allclose(found["score"], score, rtol=1e-4, atol=1e-5)
    mapped = run("export", *arguments, "-o", tmp_path / "base", "--map", "a=b")
    assert mapped.exit_code == 2 and "are found by object" in mapped.output


@needs_tf2
def test_statistics_of_the_batch_in_a_model_object_are_refused(run, tmp_path, object_checkpoint):
    """As in a function's graph."""
    arguments = ["--checkpoint", object_checkpoint[0], "--input", "image[batch,8,12,1]", "-o", tmp_path / "base"]
    result = run("export", "--graph", "my_models:Centred", *arguments, "--output", "output", "--json", "-q")
    (problem,) = failure(result)["problem_details"]
    assert result.exit_code == 3 and (problem["code"], "(Mean)" in problem["text"]) == ("batch-statistics", True)


@needs_tf2
@pytest.mark.parametrize(
    "graph, said",
    [
        (
            "my_models:wider",
            "does not hold every variable of the model that the function returned; the nearest is model; under its",
        ),
        (
            "my_models:tensors",
            "the function returned dict, expected a tf.Module or a Keras model",
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
