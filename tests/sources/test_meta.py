"""A training's own `.meta` is served: cut where it is asked, at its checkpoint's numbers, without a line of code."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from ckpt2saved import ctc
from ckpt2saved.answers import cc_loader
from ckpt2saved.errors import NotServable
from ckpt2saved.graph.tf1 import SavedModel, tf, v1_control_flow
from ckpt2saved.saved_model.reading import read_signatures
from tests.support.checkpoints import write_checkpoint
from tests.support.saved_models import asked

CLASSES, WIDTH, HEIGHT = 6, 12, 8


def features(images, batch=None):
    """Logits [time, batch, classes] of images [batch, 8, width, 1], by hand-made layers; `batch` is wired in if given."""
    kernel = tf.get_variable("conv/weights", [3, 3, 1, 4], initializer=tf.random_normal_initializer(seed=1))
    found = tf.nn.relu(tf.nn.conv2d(images, kernel, [1, 1, 1, 1], "SAME"))
    found = tf.transpose(tf.reduce_max(found, 1), [1, 0, 2])
    if batch:
        found = tf.concat([found, tf.ones([WIDTH, batch, 1])], 2)
    depth = 5 if batch else 4
    matrix = tf.get_variable("logits/weights", [depth, CLASSES], initializer=tf.random_normal_initializer(seed=2))
    bias = tf.get_variable("logits/biases", [CLASSES], initializer=tf.random_normal_initializer(seed=3))
    return tf.add(tf.tensordot(found, matrix, 1), bias, name="logits")


def trained(path, build, step=100, average=False, **saver):
    """A training of `build`, saved as training scripts save it; returns the prefix."""
    with tf.Graph().as_default(), v1_control_flow(), tf.Session() as session:
        loss = build()
        count = tf.train.get_or_create_global_step()
        train = tf.train.AdamOptimizer(0.1).minimize(loss, global_step=count) if loss is not None else tf.no_op()
        if average:
            averages = tf.train.ExponentialMovingAverage(0.5)
            with tf.control_dependencies([train]):
                train = averages.apply(tf.trainable_variables())
        session.run([tf.global_variables_initializer(), tf.tables_initializer()])
        if average:
            session.run(tf.assign_add(tf.trainable_variables()[0], tf.ones([3, 3, 1, 4])).op)
        session.run(tf.assign(count, step).op)
        saver = tf.train.Saver(**saver)
        return saver.save(session, str(path / "model.ckpt"), global_step=step)


def training():
    """Images and labels by placeholders, a CTC loss, a beam search beside it."""
    images = tf.placeholder(tf.float32, [None, HEIGHT, None, 1], name="images")
    lengths = tf.placeholder(tf.int32, [None], name="lengths")
    labels = tf.sparse_placeholder(tf.int32, name="labels")
    logits = features(images)
    tf.nn.ctc_beam_search_decoder(logits, lengths, beam_width=3, merge_repeated=False)
    return tf.reduce_mean(tf.nn.ctc_loss(labels, logits, lengths))


def of_training(prefix, fetches, **inputs):
    """The answers of the training's graph itself, by the script that everybody writes."""
    with tf.Graph().as_default(), tf.Session() as session:
        tf.train.import_meta_graph(prefix + ".meta").restore(session, prefix)
        return session.run(fetches, {name + ":0": value for name, value in inputs.items()})


def of_training_again(prefix, fetches, **inputs):
    """Sixteen answers to one request, since two that a dropout draws can be nearly equal by chance."""
    with tf.Graph().as_default(), tf.Session() as session:
        tf.train.import_meta_graph(prefix + ".meta").restore(session, prefix)
        feeds = {name + ":0": value for name, value in inputs.items()}
        return [session.run(fetches, feeds) for _ in range(16)]


def lines(batch=2, width=WIDTH, seed=0):
    return np.random.RandomState(seed).uniform(0, 1, (batch, HEIGHT, width, 1)).astype("float32")


CRNN = ["--input", "image=images:0", "--output", "logits"]
SPARSE = ["--output=indices=CTCBeamSearchDecoder:0", "--output=values=CTCBeamSearchDecoder:1"]


@pytest.fixture(scope="session")
def prefix(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("training"), training)


def test_a_command_line_alone(run, tmp_path, prefix):
    """Tensors by name; labels, loss and optimizer stay behind, and the lengths to compare on are found out."""
    result = run("export", "--checkpoint", prefix, *CRNN, "--input", "steps=lengths:0", *SPARSE, "-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert "fast in place of CTCBeamSearchDecoder (beam_width 3)" in result.output
    for batch, width in ((2, 12), (5, 20)):
        image, steps = lines(batch, width), np.arange(width - batch, width, dtype="int32")
        found = asked(tmp_path / "1", image=image, steps=steps)
        names = {"logits": "logits:0", "indices": "CTCBeamSearchDecoder:0", "values": "CTCBeamSearchDecoder:1"}
        wanted = of_training(prefix, names, images=image, lengths=steps)
        np.testing.assert_allclose(found.pop("logits"), wanted.pop("logits"), atol=1e-5)
        for key, value in wanted.items():
            np.testing.assert_array_equal(found[key], value)
    saved_model = SavedModel()
    saved_model.ParseFromString((tmp_path / "1" / "saved_model.pb").read_bytes())
    graph_def = saved_model.meta_graphs[0].graph_def
    assert {node.name for node in graph_def.node if node.op == "Placeholder"} == {"images", "lengths"}
    assert not [node.name for node in graph_def.node if node.name.startswith(("gradients", "CTCLoss", "Adam"))]
    assert sorted(
        tf.train.NewCheckpointReader(str(tmp_path / "1/variables/variables")).get_variable_to_shape_map()
    ) == [
        "conv/weights",
        "logits/biases",
        "logits/weights",
    ]


SIGNATURE = """
format: 1
signatures:
  serving_default:
    inputs:
      image: {tensor: "images:0", dtype: float32, shape: [batch, 8, width, 1]}
      steps: {tensor: "lengths:0", dtype: int32, shape: [batch]}
    outputs:
      logits: {tensor: "logits:0", dtype: float32, shape: [time, batch, 6]}
parity:
  - dims: {batch: 2, width: 9}
    inputs: {image: {uniform: [0, 1]}, steps: {values: [9, 4]}}
"""


def test_a_signature_file_without_a_graph_means_the_meta(run, tmp_path, prefix):
    """A user's own file, with the graph that lies beside the checkpoint."""
    own = tmp_path / "own.yaml"
    own.write_text(SIGNATURE)
    result = run("export", "--model", own, "--checkpoint", prefix, "-o", tmp_path / "base")
    assert result.exit_code == 0, result.output
    found = asked(tmp_path / "base" / "1", image=lines(), steps=np.array([3, 4], "int32"))
    wanted = of_training(prefix, "logits:0", images=lines())
    np.testing.assert_allclose(found["logits"], wanted, atol=1e-5)
    provenance = json.loads((tmp_path / "base/1/assets.extra/ckpt2saved.json").read_text())
    assert (provenance["graph"], provenance["edits"]) == ({"builder": "meta", "options": {}}, [])


def test_any_tensor_can_be_the_input(run, tmp_path):
    """An input pipeline ends where the cut is: the queue, the reader and the decoding of images stay behind."""

    def build():
        names = tf.train.string_input_producer(["none.png"], shuffle=False)
        image = tf.image.decode_png(tf.read_file(names.dequeue()), channels=1)
        image = tf.reshape(tf.cast(image, tf.float32), [HEIGHT, WIDTH, 1])
        batch = tf.train.batch([image], 2)
        return tf.reduce_sum(features(tf.identity(batch, name="queued")))

    prefix = trained(tmp_path, build)
    naive = run("export", "--checkpoint", prefix, "--input", "x=read/never", "--output", "logits", "-o", tmp_path / "m")
    assert naive.exit_code == 1
    assert "x: the graph has no node 'read/never'" in naive.output or "signatures.serving_default" in naive.output
    opened = ["--input", "image=queued:0[batch,8,width,1]", "--output", "logits"]
    result = run("export", "--checkpoint", prefix, *opened, "-o", tmp_path / "m")
    assert result.exit_code == 1 and "Tensordot" in result.output and "Reshape" in result.output, result.output
    result = run("export", "--checkpoint", prefix, "--input", "image=queued", *opened[2:], "-o", tmp_path / "m")
    assert result.exit_code == 0, result.output
    found = asked(tmp_path / "m" / "1", image=lines())["logits"]
    np.testing.assert_allclose(found, of_training(prefix, "logits:0", queued=lines()), atol=1e-5)


def test_a_batch_that_is_wired_in_is_named(run, tmp_path):
    """What fixes it is said; asked for with the size of training it is served."""

    def build():
        return tf.reduce_sum(features(tf.placeholder(tf.float32, [4, HEIGHT, WIDTH, 1], name="images"), batch=4))

    prefix = trained(tmp_path, build)
    opened = ["--checkpoint", prefix, "--input", "images[batch,8,12,1]", "--output", "logits", "-o", tmp_path / "m"]
    result = run("export", *opened)
    assert result.exit_code == 1
    assert "a size from training stands in it" in result.output and "'concat" in result.output.replace("{{node ", "'")
    with pytest.raises((ValueError, tf.errors.OpError)):  # what clients would have run into
        of_training(prefix, "logits:0", images=lines(3))
    fixed = [argument.replace("batch,", "4,") for argument in map(str, opened)]
    assert run("export", *fixed).exit_code == 0
    found = asked(tmp_path / "m" / "1", images=lines(4))
    np.testing.assert_allclose(found["logits"], of_training(prefix, "logits:0", images=lines(4)), atol=1e-5)


def test_sizes_that_are_opened_are_open_in_the_outputs(run, tmp_path):
    """A client reads the signature: the training's batch and width are no longer in it."""
    prefix = trained(
        tmp_path, lambda: tf.reduce_sum(features(tf.placeholder(tf.float32, [4, 8, 12, 1], name="images")))
    )
    arguments = ["export", "--graph", prefix + ".meta", "--checkpoint", prefix, "--output", "conv=Relu:0"]
    result = run(*arguments, "--input", "images[batch,8,width,1]", "-o", tmp_path / "m")
    assert result.exit_code == 0, result.output
    assert read_signatures(tmp_path / "m" / "1")["serving_default"].output("conv").shape == (None, 8, None, 4)
    assert asked(tmp_path / "m" / "1", images=lines(3, 17))["conv"].shape == (3, 8, 17, 4)
    result = run(*arguments, "--input", "images[batch,8,9,3]", "-o", tmp_path / "m")
    assert result.exit_code == 1 and "they are not the network's, or a size from training stands" in result.output


def test_a_decoder_is_appended(run, tmp_path, prefix):
    """To a graph that has none, or another one: in the sparse form and the dense one."""
    arguments = ["--checkpoint", prefix, "--input", "image=images:0", "--decode", "logits", "--beam-width", "7"]
    result = run("export", *arguments, "--top-paths", "2", "-o", tmp_path)
    assert result.exit_code == 0, result.output
    logits = of_training(prefix, "logits:0", images=lines(3))
    with tf.Graph().as_default(), tf.Session() as session:
        decoder = tf.nn.ctc_beam_search_decoder(logits, [WIDTH] * 3, beam_width=7, top_paths=2, merge_repeated=False)
        paths, score = session.run(decoder)
    found = asked(tmp_path / "1", image=lines(3))
    for path, suffix in zip(paths, ("", "_2")):
        np.testing.assert_array_equal(found["output_indices" + suffix], path.indices)
        np.testing.assert_array_equal(found["output_values" + suffix], path.values)
        np.testing.assert_array_equal(found["output_shape" + suffix], path.dense_shape)
    dense = asked(tmp_path / "1", signature="dense", image=lines(3))
    assert [row[row >= 0].tolist() for row in dense["ids"]] == [
        paths[0].values[paths[0].indices[:, 0] == line].tolist() for line in range(3)
    ]
    np.testing.assert_allclose(dense["score"], score[:, 0], rtol=1e-4)


def test_the_decoders_lengths_can_be_an_input(run, tmp_path, prefix):
    """--sequence-length names the tensor that says how many steps count."""
    arguments = [
        "--checkpoint",
        prefix,
        "--input",
        "image=images:0",
        "--input",
        "steps=lengths:0",
        "--decode",
        "logits",
    ]
    result = run("export", *arguments, "--sequence-length", "lengths", "-o", tmp_path)
    assert result.exit_code == 0, result.output
    found = asked(tmp_path / "1", signature="dense", image=lines(2), steps=np.array([12, 0], "int32"))
    assert found["lengths"][0] > 0 and found["lengths"][1] == 0


def test_averages_need_a_choice(run, tmp_path):
    """The checkpoint has both, the graph does not say which: never guessed."""
    prefix = trained(tmp_path, training, average=True)
    result = run("export", "--checkpoint", prefix, *CRNN, "-o", tmp_path / "m")
    assert result.exit_code == 2
    assert "pass --weights ema (the averages) or --weights raw (the variables themselves)" in result.output
    answers = {}
    for kind in ("raw", "ema"):
        result = run("export", "--checkpoint", prefix, *CRNN, "--weights", kind, "-o", tmp_path / kind)
        assert result.exit_code == 0, result.output
        answers[kind] = asked(tmp_path / kind / "1", image=lines())["logits"]
    np.testing.assert_allclose(answers["raw"], of_training(prefix, "logits:0", images=lines()), atol=1e-5)
    assert np.abs(answers["raw"] - answers["ema"]).max() > 0.1
    own = tmp_path / "own.yaml"
    own.write_text(SIGNATURE + "graph: {weights: ema}\n")
    assert run("export", "--model", own, "--checkpoint", prefix, "-o", tmp_path / "own").exit_code == 0
    found = asked(tmp_path / "own" / "1", image=lines(), steps=np.array([12, 12], "int32"))["logits"]
    np.testing.assert_array_equal(found, answers["ema"])


def test_renamed_variables_are_found_by_a_map(run, tmp_path, prefix):
    """The usual renamings are offered in the error, and what is offered works."""
    reader = tf.train.NewCheckpointReader(prefix)
    names = {"conv/weights": "conv/kernel", "logits/weights": "logits/kernel", "logits/biases": "logits/bias"}
    renamed = write_checkpoint(tmp_path / "new", {new: reader.get_tensor(old) for old, new in names.items()})
    arguments = ["--graph", prefix + ".meta", "--checkpoint", renamed, *CRNN, "-o", tmp_path / "m"]
    result = run("export", *arguments)
    assert result.exit_code == 1
    assert "--map 'weights$=kernel' finds 2 of them, --map 'biases$=bias' finds 1 of them" in result.output
    result = run("export", *arguments, "--map", "weights$=kernel", "--map", "biases$=bias")
    assert result.exit_code == 0, result.output
    found = asked(tmp_path / "m" / "1", image=lines())
    np.testing.assert_allclose(found["logits"], of_training(prefix, "logits:0", images=lines()), atol=1e-5)
    with tf.Graph().as_default(), tf.Session() as session, pytest.raises(tf.errors.NotFoundError):
        tf.train.import_meta_graph(prefix + ".meta").restore(session, str(renamed))  # what the usual script says
    scoped = write_checkpoint(tmp_path / "scoped", {"net/" + old: reader.get_tensor(old) for old in names})
    result = run("export", "--graph", prefix + ".meta", "--checkpoint", scoped, *CRNN, "-o", tmp_path / "s")
    assert "--map '^=net/' finds 3 of them" in result.output


def charset(path):
    file = path / "charset.txt"
    file.write_text("\n".join("abcdef") + "\n")
    return file


@pytest.mark.parametrize("kind", ["constants", "a file"])
def test_lookup_tables_are_filled(run, tmp_path, kind):
    """By the graph's own constants, or from a file that goes into the SavedModel's assets."""
    file = charset(tmp_path)

    def build():
        keys = tf.constant(list(range(6)), tf.int64)
        if kind == "constants":
            filler = tf.lookup.KeyValueTensorInitializer(keys, tf.constant([10, 20, 30, 40, 50, 60], tf.int64))
            table = tf.lookup.StaticHashTable(filler, -1)
        else:
            filler = tf.lookup.TextFileInitializer(
                str(file), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
            )
            table = tf.lookup.StaticHashTable(filler, -1)
        logits = features(tf.placeholder(tf.float32, [None, HEIGHT, None, 1], name="images"))
        best = tf.argmax(logits, 2)
        if kind != "constants":
            best = tf.gather(tf.constant(list("fedcba")), best)
        tf.identity(table.lookup(best), name="found")
        return tf.reduce_sum(logits)

    prefix = trained(tmp_path, build)
    result = run("export", "--checkpoint", prefix, "--input", "images", "--output", "found", "-o", tmp_path / "m")
    assert result.exit_code == 0, result.output
    file.unlink()
    best = of_training(prefix, "logits:0", images=lines()).argmax(2)
    wanted = 10 * best + 10 if kind == "constants" else 5 - best
    np.testing.assert_array_equal(asked(tmp_path / "m" / "1", images=lines())["found"], wanted)
    if kind == "a file":
        assert (tmp_path / "m" / "1" / "assets" / "charset.txt").read_text() == "\n".join("abcdef") + "\n"
        again = run("export", "--checkpoint", prefix, "--input", "images", "--output", "found", "-o", tmp_path / "m")
        assert again.exit_code == 3 and "charset.txt, which is not there" in again.output


def test_lookup_files_of_one_name_are_kept_apart(run, tmp_path):
    """A charset for each script, in directories of their own; a SavedModel's assets have none."""

    def build():
        lines_of = tf.lookup.TextFileIndex.WHOLE_LINE
        images = tf.placeholder(tf.float32, [None, HEIGHT, None, 1], name="images")
        best = tf.argmax(features(images), 2)
        for script, letters in (("latin", "abcdef"), ("greek", "uvwxyz"), ("again", "abcdef")):
            folder = tmp_path / ("latin" if script == "again" else script)
            folder.mkdir(exist_ok=True)
            (folder / "charset.txt").write_text("\n".join(letters) + "\n")
            number = tf.lookup.TextFileIndex.LINE_NUMBER
            filler = tf.lookup.TextFileInitializer(
                str(folder / "charset.txt"), tf.int64, number, tf.string, lines_of, name=script + "_init"
            )
            table = tf.lookup.StaticHashTable(filler, "?", name=script)
            tf.identity(table.lookup(best), name=script + "_text")
        return tf.reduce_sum(images * tf.get_variable("scale", []))

    prefix = trained(tmp_path, build)
    outputs = ["--output=latin_text", "--output=greek_text", "--output=again_text"]
    result = run("export", "--checkpoint", prefix, "--input", "images", *outputs, "-o", tmp_path / "m")
    assert result.exit_code == 0, result.output
    best = of_training(prefix, "logits:0", images=lines()).argmax(2)
    for folder in ("latin", "greek"):  # what is read is in the SavedModel
        (tmp_path / folder / "charset.txt").unlink()
    with tf.Graph().as_default(), tf.Session() as session:
        tf.saved_model.load(session, ["serve"], str(tmp_path / "m" / "1"))
        names = [script + "_text:0" for script in ("latin", "greek", "again")]
        found = session.run(names, {"images:0": lines()})
    for letters, texts in zip(("abcdef", "uvwxyz", "abcdef"), found):
        np.testing.assert_array_equal(texts.astype("U"), np.array(list(letters))[best])
    assert sorted(file.name for file in (tmp_path / "m/1/assets").iterdir()) == ["charset.txt", "charset_2.txt"]


def test_a_table_that_is_filled_by_hand_is_refused(run, tmp_path):
    """What a training script puts into it is in no file; elsewhere it is empty."""

    def build():
        images = tf.placeholder(tf.float32, [None, HEIGHT, None, 1], name="images")
        best = tf.argmax(features(images), 2)
        table = tf.raw_ops.MutableHashTableV2(key_dtype=tf.int64, value_dtype=tf.int64, name="table")
        found = tf.raw_ops.LookupTableFindV2(table_handle=table, keys=best, default_value=np.int64(-1))
        tf.identity(found, name="found")
        return tf.reduce_sum(images * tf.get_variable("scale", []))

    prefix = trained(tmp_path, build)
    result = run("export", "--checkpoint", prefix, "--input", "images", "--output", "found", "-o", tmp_path / "m")
    assert result.exit_code == 3, result.output
    assert "table (MutableHashTableV2): nothing in the graph fills this lookup table" in result.output
    assert (of_training(prefix, "found:0", images=lines()) == -1).all()


def test_without_the_other_input_nothing_answers(run, tmp_path, prefix):
    """What a refused export would have served: an error at each request."""
    result = run("export", "--checkpoint", prefix, "--input", "images", *SPARSE, "-o", tmp_path / "m")
    assert result.exit_code == 3 and "lengths (Placeholder): no request feeds it" in result.output
    with pytest.raises(tf.errors.InvalidArgumentError):
        of_training(prefix, "CTCBeamSearchDecoder:0", images=lines())


@pytest.mark.parametrize(
    "arguments, code, said",
    [
        pytest.param(
            ["--input", "image=image:0", "--output", "logits"],
            1,
            "signatures.serving_default.inputs.image: the graph has no node 'image'; did you mean images",
            id="misspelt",
        ),
        pytest.param(
            ["--input", "images", "--output", "logits:4"],
            1,
            "'logits:4' has 1 outputs, from logits:0 on",
            id="no-such-output",
        ),
        pytest.param(
            ["--input", "x=lengths", "--output", "Const"],
            3,
            "no output depends on lengths:0; choose inputs nearer to the outputs",
            id="input-for-nothing",
        ),
        pytest.param(
            ["--input", "images", "--output", "CTCBeamSearchDecoder"],
            3,
            "lengths (Placeholder): no request feeds it; make it an input",
            id="input-missing",
        ),
        pytest.param(["--output", "logits"], 2, "--input: missing; pass --input NAME=TENSOR", id="no-inputs"),
        pytest.param(["--input", "images"], 2, "--output: missing; pass --output NAME=TENSOR", id="no-outputs"),
        pytest.param(
            ["--input", "a=images", "--input", "a=lengths", "--output", "logits"],
            2,
            "--input a: this name is given twice",
            id="twice",
        ),
        pytest.param(["--model", "crnn", "--input", "images"], 2, "or --model, not both", id="model-and-input"),
        pytest.param(["--model", "crnn", "--set", "is_train=false"], 2, "--set: only for a training's", id="set"),
        pytest.param(["--model", "crnn", "--beam-width", "3"], 2, "--beam-width: only with --decode", id="beam"),
        pytest.param(["--input", "x=images[a b]", "--output", "logits"], 2, "neither a size nor a name", id="shape"),
        pytest.param(
            ["--input", "images", "--output", "logits", "--map", "(=x"], 2, "not a regular expression", id="map"
        ),
        pytest.param(
            ["--input", "images[batch,8,9]", "--output", "logits"], 1, "does not take inputs of these shapes", id="rank"
        ),
    ],
)
def test_what_does_not_fit_is_refused(run, tmp_path, prefix, arguments, code, said):
    """Each with what to do about it, and nothing is published."""
    result = run("export", "--checkpoint", prefix, *arguments, "-o", tmp_path / "m")
    assert result.exit_code == code, result.output
    assert said in result.output, result.output
    assert not (tmp_path / "m").exists() or not list((tmp_path / "m").iterdir())


def test_a_signature_file_can_ask_for_a_decoder(run, tmp_path, prefix):
    """What --decode says, in a file."""
    own = tmp_path / "own.yaml"
    text = SIGNATURE + "graph: {decode: {logits: 'logits:0', beam_width: 4, merge_repeated: true}}\n"
    own.write_text(
        text.replace(
            "      logits: {tensor",
            "      ids: {tensor: ids, dtype: int64, shape: [batch, time]}\n      logits: {tensor",
        )
    )
    result = run("export", "--model", own, "--checkpoint", prefix, "-o", tmp_path / "base")
    assert result.exit_code == 0, result.output
    assert "fast in place of CTCBeamSearchDecoder (beam_width 4)" in result.output
    logits = of_training(prefix, "logits:0", images=lines(3))
    with tf.Graph().as_default(), tf.Session() as session:
        (best,), _ = tf.nn.ctc_beam_search_decoder(logits, [WIDTH] * 3, beam_width=4, merge_repeated=True)
        wanted = session.run(best).values
    ids = asked(tmp_path / "base" / "1", image=lines(3), steps=np.ones(3, "int32"))["ids"]
    np.testing.assert_array_equal(ids[ids >= 0], wanted)


def test_training_ops_are_kept_only_to_be_refused(run, tmp_path):
    """Dropout is taken out, and what it would have served is other numbers at each call."""

    def build():
        images = tf.placeholder(tf.float32, [None, HEIGHT, None, 1], name="images")
        return tf.reduce_sum(tf.nn.dropout(features(images), rate=0.5, name="dropout"), name="loss")

    prefix = trained(tmp_path, build)
    arguments = ["--checkpoint", prefix, "--input", "images", "--output", "sum=loss", "-o", tmp_path / "m"]
    kept = run("export", *arguments, "--keep-training-ops")
    assert kept.exit_code == 3 and "it draws random numbers (dropout?)" in kept.output
    result = run("export", *arguments)
    assert result.exit_code == 0 and "edited      dropout: bypassed" in result.output, result.output
    wanted = of_training(prefix, "logits:0", images=lines()).sum()
    assert np.ptp(of_training_again(prefix, "loss:0", images=lines())) > 0.1
    np.testing.assert_allclose(asked(tmp_path / "m" / "1", images=lines())["sum"], wanted, rtol=1e-4)
    provenance = json.loads((tmp_path / "m/1/assets.extra/ckpt2saved.json").read_text())
    assert [edit["kind"] for edit in provenance["edits"]] == ["dropout"]


def test_a_switch_can_be_set_where_training_ops_are_kept(run, tmp_path):
    """Nothing else is changed; what trains is refused, and with it what it would have answered."""

    def build():
        images = tf.placeholder(tf.float32, [None, HEIGHT, None, 1], name="images")
        logits = features(images)
        train = tf.placeholder(tf.bool, [], name="is_train")
        dropped = tf.cond(train, lambda: tf.nn.dropout(logits, rate=0.5), lambda: tf.identity(logits))
        return tf.reduce_sum(dropped, name="loss")

    prefix = trained(tmp_path, build)
    arguments = ["--checkpoint", prefix, "--input", "images", "--output", "sum=loss", "--keep-training-ops"]
    result = run("export", *arguments, "--set", "is_train=true", "-o", tmp_path / "m")
    assert result.exit_code == 3 and "it draws random numbers (dropout?)" in result.output, result.output
    assert np.ptp(of_training_again(prefix, "loss:0", images=lines(), is_train=True)) > 0.1
    result = run("export", *arguments, "--set", "is_train=false", "-o", tmp_path / "m")
    assert result.exit_code == 0, result.output
    assert "edited      is_train: pinned to False (--set)" in result.output
    wanted = of_training(prefix, "loss:0", images=lines(), is_train=False)
    np.testing.assert_allclose(asked(tmp_path / "m" / "1", images=lines())["sum"], wanted, rtol=1e-4)


def test_what_no_optimizer_touched_is_noted(run, tmp_path):
    """The validation tower shares a layer with the training's, and ends in one of its own that was never trained."""

    def build():
        images = tf.placeholder(tf.float32, [None, HEIGHT, None, 1], name="images")
        with tf.variable_scope("net"):
            loss = tf.reduce_sum(features(images))
        with tf.variable_scope("net", reuse=True):
            kernel = tf.get_variable("conv/weights", [3, 3, 1, 4])
        shared = tf.reduce_max(tf.nn.conv2d(images, kernel, [1, 1, 1, 1], "SAME"), 1)
        own = tf.get_variable("validation/weights", [4, CLASSES])
        tf.tensordot(shared, own, 1, name="validated")
        return loss

    prefix = trained(tmp_path, build)
    arguments = ["--checkpoint", prefix, "--input", "images", "-o", tmp_path / "m"]
    result = run("export", *arguments, "--output", "validated")
    assert result.exit_code == 0, result.output
    assert (
        "note        no optimizer slots for validation/weights, as there are for others: frozen, or of" in result.output
    )
    assert "no optimizer slots" not in run("export", *arguments, "--output", "net/logits").output


@pytest.mark.parametrize("weights", [[], ["--weights", "ema"]])
def test_of_two_towers_the_untrained_one_is_told_by_the_graph(run, tmp_path, weights):
    """Plain gradient descent keeps no slots: the training's own updates say what was trained."""

    def build():
        images = tf.placeholder(tf.float32, [None, HEIGHT, None, 1], name="images")
        with tf.variable_scope("net"):
            logits = features(images)
        shared = tf.reduce_max(tf.get_default_graph().get_tensor_by_name("net/Relu:0"), 1)
        own = [tf.get_variable("val/" + name, shape) for name, shape in (("matrix", [4, CLASSES]), ("bias", [CLASSES]))]
        tf.add(tf.tensordot(shared, own[0], 1), own[1], name="validated")
        trained = tf.trainable_variables("net")
        averages = tf.train.ExponentialMovingAverage(0.5)
        with tf.control_dependencies([tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_sum(logits))]):
            averages.apply(tf.trainable_variables() if weights else trained[:0])

    prefix = trained(tmp_path, build)
    arguments = ["--checkpoint", prefix, "--input", "images", "-o", tmp_path / "m", *weights]
    result = run("export", *arguments, "--output", "validated")
    assert result.exit_code == 0, result.output
    assert (
        "note        no updates by an optimizer for val/bias, val/matrix, as there are for others: frozen, or of a tower "
        "that was never trained?" in result.output
    )
    assert "no updates by" not in run("export", *arguments, "--output", "net/logits").output


def test_devices_are_cleared_and_said(run, tmp_path):
    """A graph of several GPUs is served on any machine; the usual script's is refused by a server without them."""

    def build():
        images = tf.placeholder(tf.float32, [None, HEIGHT, None, 1], name="images")
        with tf.device("/device:GPU:0"):
            logits = features(images)
        with tf.device("/device:GPU:1"):
            tf.nn.softmax(logits, name="probabilities")

    with tf.Graph().as_default() as graph:
        build()
        values = {v.op.name: np.ones(v.shape.as_list(), "float32") for v in tf.global_variables()}
        prefix = write_checkpoint(tmp_path / "model", values)
        graph_def = graph.as_graph_def()
        meta = tf.train.export_meta_graph(str(tmp_path / "model.meta"), graph_def=graph_def)
    naive = tmp_path / "naive"
    meta.meta_info_def.tags.append("serve")
    saved_model = SavedModel(saved_model_schema_version=1, meta_graphs=[meta])
    naive.mkdir()
    (naive / "saved_model.pb").write_bytes(saved_model.SerializeToString())
    with pytest.raises(NotServable, match="Cannot assign a device for operation"):
        with cc_loader.loaded(cc_loader.find_library(), naive) as loaded:
            loaded.run(["probabilities:0"], {"images:0": lines()})
    arguments = ["--checkpoint", prefix, "--input", "images", "--output", "probabilities", "-o", tmp_path / "m"]
    result = run("export", *arguments)
    assert result.exit_code == 0, result.output
    said = re.search(
        r"devices     (\d+) nodes pinned to /device:GPU:0, 1 node pinned to /device:GPU:1; cleared", result.output
    )
    assert said and int(said.group(1)) > 5, result.output
    text = " ".join(run("inspect", prefix).output.split())
    assert "1 node pinned to /device:GPU:1, which export clears" in text
    text = " ".join(run("inspect", naive).output.split())
    assert "/device:GPU:1: a server without this device cannot load the graph; export it again" in text
    assert "pinned" not in run("inspect", tmp_path / "m").output


@pytest.mark.parametrize(
    "arguments, code, said",
    [
        (
            ["--input", "a=images", "--input", "b=images", "--output", "logits"],
            1,
            "signatures.serving_default.inputs: a and b are both images:0, and TF Serving would answer every request "
            'with "fed more than once"',
        ),
        (
            ["--input", "images", "--output", "logits", "--output", "same=images"],
            1,
            "signatures.serving_default.outputs.same: images:0 is the input images itself, and TF Serving would answer "
            'every request with "is both fed and fetched"',
        ),
        (
            ["--input", "images", "--output", "output_values=logits", "--decode", "logits"],
            2,
            "--output output_values: this name is given twice",
        ),
        (
            ["--input", "images", "--output", "logits", "--map", "^logits/.*=logits/biases"],
            2,
            "logits/biases: logits/biases and logits/weights would read it",
        ),
    ],
)
def test_names_that_clash_are_refused(run, tmp_path, prefix, arguments, code, said):
    """Two names for one tensor, or two variables under one name."""
    result = run("export", "--checkpoint", prefix, *arguments, "-o", tmp_path / "m")
    assert result.exit_code == code, result.output
    assert said in result.output, result.output
    feeds = {"images:0": lines(1), "images": lines(2)}
    if "a=images" in arguments or "same=images" in arguments:  # what would have been served
        run("export", "--checkpoint", prefix, "--input", "images", "--output", "logits", "-o", tmp_path / "n")
        with cc_loader.loaded(cc_loader.find_library(), tmp_path / "n" / "1") as loaded:
            with pytest.raises(NotServable, match="fed more than once"):
                loaded.run(["logits:0"], feeds)
            with pytest.raises(NotServable, match="is both fed and fetched"):
                loaded.run(["logits:0", "images:0"], {"images:0": lines()})


def test_outputs_without_the_batch_in_front_are_noted(run, tmp_path, prefix):
    """At export by what was answered, in inspect by what is known of the graph or stands in the signature."""
    arguments = ["--checkpoint", prefix, "--input", "images", "--input", "lengths", "-o", tmp_path / "m"]
    result = run("export", *arguments, "--output", "logits", *SPARSE)
    assert result.exit_code == 0, result.output
    note = "cannot be used with --enable_batching: "
    assert f"note        serving_default: {note}indices, logits, values\n" in result.output
    text = " ".join(run("inspect", prefix).output.split())
    assert note + "output_indices, output_values, output_shape, logits" in text
    text = " ".join(run("inspect", tmp_path / "m").output.split())
    assert f"serving_default: {note}indices" in text
    decoded = run("export", *arguments[:4], "--decode", "logits", "-o", tmp_path / "d")
    assert "dense: " + note not in decoded.output and "serving_default: " + note in decoded.output


def test_no_meta_is_said(run, tmp_path, prefix):
    """A checkpoint alone has no graph."""
    reader = tf.train.NewCheckpointReader(prefix)
    alone = write_checkpoint(tmp_path / "alone", {"conv/weights": reader.get_tensor("conv/weights")})
    result = run("export", "--checkpoint", alone, *CRNN, "-o", tmp_path / "m")
    assert result.exit_code == 1 and "there is no alone.meta, the training's graph" in result.output


@pytest.mark.parametrize("content", [b"", b"no graph", b"\x0a\x00" * 9], ids=["empty", "text", "bytes"])
def test_a_broken_meta_is_said(run, tmp_path, prefix, content):
    """Whatever lies there under that name."""
    broken = tmp_path / "broken.meta"
    broken.write_bytes(content)
    result = run("export", "--graph", broken, "--checkpoint", prefix, *CRNN, "-o", tmp_path / "m")
    assert result.exit_code == 1 and str(broken) in result.output and "Traceback" not in result.output


def test_where_fast_answers_otherwise_the_op_is_served(run, tmp_path, prefix, monkeypatch):
    """As with texts that float32 can't tell apart; here fast decodes other logits, for other answers at any rate."""
    fast = ctc.beam_search
    monkeypatch.setattr(ctc, "beam_search", lambda logits, lengths, **settings: fast(-logits, lengths, **settings))
    arguments = ["--checkpoint", prefix, "--input", "images", "--decode", "logits", "--beam-width", "40"]
    insisted = run("export", *arguments, "--ctc-decoder", "fast", "-o", tmp_path / "m")
    assert insisted.exit_code == 3 and "the staged files answer differently" in insisted.output, insisted.output
    result = run("export", *arguments, "-o", tmp_path / "m")
    assert result.exit_code == 0, result.output
    assert "decoder     stock: fast decodes some of the compared lines differently" in result.output
    assert "differs     parity[0]: " in result.output
    provenance = json.loads((tmp_path / "m/1/assets.extra/ckpt2saved.json").read_text())
    assert (provenance["ctc_decoder"], provenance["replaced_nodes"]) == ("stock", [])
    logits = of_training(prefix, "logits:0", images=lines(3))
    with tf.Graph().as_default(), tf.Session() as session:
        (best,), _ = tf.nn.ctc_beam_search_decoder(logits, [WIDTH] * 3, beam_width=40, merge_repeated=False)
        wanted = session.run(best).values
    np.testing.assert_array_equal(asked(tmp_path / "m" / "1", images=lines(3))["output_values"], wanted)


def widths_training():
    """The steps of a line are computed from its width; pictures come as files; a number is what some table knows."""
    files = tf.placeholder(tf.string, [None], name="files")
    widths = tf.placeholder(tf.int32, [None], name="widths")
    style = tf.placeholder(tf.int32, [], name="style")
    images = tf.map_fn(lambda file: tf.image.decode_png(file, channels=1), files, dtype=tf.uint8)
    images = tf.image.resize_bilinear(tf.cast(images, tf.float32), [HEIGHT, WIDTH])
    table = tf.get_variable("styles", [1, CLASSES], initializer=tf.random_normal_initializer(seed=4))
    logits = features(images) + tf.gather(table, style)
    tf.nn.ctc_beam_search_decoder(logits, tf.floordiv(widths - 2, 2), beam_width=3, merge_repeated=False)
    return tf.reduce_sum(logits)


def test_what_an_input_means_is_found_by_trying(run, tmp_path):
    """Widths of which not too many steps come, an encoded picture, a number that is a row of a table."""
    prefix = trained(tmp_path, widths_training)
    inputs = ["--input=files=files:0", "--input=widths=widths:0", "--input=style=style:0"]
    outputs = ["--output=values=CTCBeamSearchDecoder:1", "--output=logits=logits:0"]
    result = run("export", "--checkpoint", prefix, *inputs, *outputs, "--export-dir", tmp_path / "out")
    assert result.exit_code == 0, result.output


def test_what_no_trial_answers_is_asked_for(run, tmp_path):
    """An input that nothing likely fits: the signature file has to say what it takes."""

    def build():
        images = tf.placeholder(tf.float32, [None, HEIGHT, WIDTH, 1], name="images")
        code = tf.placeholder(tf.int32, [None], name="code")
        with tf.control_dependencies([tf.debugging.assert_equal(code, 12345)]):
            return tf.reduce_sum(tf.identity(features(images) + tf.cast(code[0], tf.float32), name="answer"))

    prefix = trained(tmp_path, build)
    arguments = ["--input=images=images:0", "--input=code=code:0", "--output=answer=answer:0"]
    result = run("export", "--checkpoint", prefix, *arguments, "--export-dir", tmp_path / "out")
    assert result.exit_code == 1 and "a 'parity' part that says how to make code" in result.output


def spelling(texts):
    """Logits as texts, by a table that each answer fills before it is read; `texts` fills it."""

    def build():
        images = tf.placeholder(tf.float32, [None, HEIGHT, WIDTH, 1], name="images")
        classes = tf.argmax(features(images), 2)
        table = tf.raw_ops.MutableHashTableV2(key_dtype=tf.int64, value_dtype=tf.string)
        fill = tf.raw_ops.LookupTableInsertV2(table_handle=table, keys=tf.range(6, dtype=tf.int64), values=texts())
        with tf.control_dependencies([fill]):
            text = tf.raw_ops.LookupTableFindV2(table_handle=table, keys=classes, default_value="")
        return tf.reduce_sum(tf.cast(tf.identity(text, name="text") == "a", tf.float32)) + 0 * tf.reduce_sum(images)

    return build


def test_a_table_that_answers_fill_themselves(run, tmp_path):
    """With constants: it is filled when the server loads it."""
    with tf.Graph().as_default(), v1_control_flow(), tf.Session() as session:
        spelling(lambda: tf.constant(list("abcdef")))()
        session.run(tf.global_variables_initializer())
        prefix = tf.train.Saver().save(session, str(tmp_path / "model.ckpt"))
    arguments = ["--input=image=images:0", "--output=text=text:0"]
    result = run("export", "--checkpoint", prefix, *arguments, "--export-dir", tmp_path / "out")
    assert result.exit_code == 0, result.output
    wanted = of_training(prefix, "text:0", images=lines())
    with tf.Graph().as_default(), tf.Session() as session:
        signature = tf.saved_model.loader.load(session, ["serve"], result.stdout.split()[-1]).signature_def
        names = signature["serving_default"]
        found = session.run(names.outputs["text"].name, {names.inputs["image"].name: lines()})
    assert found.tolist() == wanted.tolist() and len(set(found.ravel())) > 1


def test_a_table_that_is_filled_by_what_is_fed_is_empty(run, tmp_path):
    """Refused: a server has nothing to fill it with."""
    with tf.Graph().as_default(), v1_control_flow(), tf.Session() as session:
        spelling(lambda: tf.placeholder(tf.string, [6], name="texts"))()
        session.run(tf.global_variables_initializer())
        prefix = tf.train.Saver().save(session, str(tmp_path / "model.ckpt"))
    arguments = ["--input=image=images:0", "--input=texts=texts:0", "--output=text=text:0"]
    result = run("export", "--checkpoint", prefix, *arguments, "--export-dir", tmp_path / "out")
    assert result.exit_code == 3 and "nothing in the graph fills this lookup table" in result.output


def regrouped(batch):
    """A training whose batch stands in a reshape alone: of any other it would make lines of pieces."""

    def build():
        images = tf.placeholder(tf.float32, [None, HEIGHT, WIDTH, 1], name="images")
        kernel = tf.get_variable("conv/weights", [3, 3, 1, 4], initializer=tf.random_normal_initializer(seed=1))
        found = tf.reshape(tf.nn.conv2d(images, kernel, [1, 1, 1, 1], "SAME"), [batch, -1, 4], name="regroup")
        return tf.reduce_sum(tf.tanh(found, name="steps"))

    return build


def test_a_batch_that_a_reshape_holds_is_served_alone(run, tmp_path):
    """Where nobody asked for another, the export says so, and clients see it in the signature."""
    prefix = trained(tmp_path, regrouped(4))
    arguments = ["export", "--checkpoint", prefix, "--output=steps=steps:0", "--export-dir", tmp_path / "out"]
    result = run(*arguments, "--input=image=images:0")
    assert result.exit_code == 0 and "the batch is 4 and can't be another: regroup" in result.output
    (version,) = (tmp_path / "out").iterdir()
    assert read_signatures(version)["serving_default"].input("image").shape == (4, HEIGHT, WIDTH, 1)
    result = run(*arguments, "--input=image=images:0[batch,8,12,1]")
    assert result.exit_code == 1 and "it takes one of 4" in result.output and "lines of 3" in result.output


def test_flattened_steps_are_no_batch(run, tmp_path):
    """A reshape that begins with a constant, of what has no line for each image first, is let through."""

    def build():
        images = tf.placeholder(tf.float32, [None, HEIGHT, WIDTH, 1], name="images")
        steps = tf.transpose(features(images), [0, 1, 2])
        return tf.reduce_sum(tf.reshape(tf.reshape(steps, [-1, CLASSES]), [WIDTH, -1, CLASSES], name="steps"))

    prefix = trained(tmp_path, build)
    result = run(
        "export", "--checkpoint", prefix, "--input=image=images:0", "--output=steps=steps:0",
        "--export-dir", tmp_path / "out",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "the batch is" not in result.output


@pytest.mark.parametrize("updated", [False, True])
def test_averages_that_were_never_averaged(run, tmp_path, updated):
    """Nothing in the graph runs their updates; whether the training did by itself is seen by their values."""

    def build():
        images = tf.placeholder(tf.float32, [None, HEIGHT, WIDTH, 1], name="images")
        held = tf.constant_initializer(0.3 if updated else 0.0)
        mean = tf.get_variable("bn/mean", [6], initializer=held, trainable=False)
        variance = tf.get_variable("bn/variance", [6], initializer=tf.ones_initializer(), trainable=False)
        logits = features(images)
        batch = tf.nn.moments(logits, [0, 1])
        for average, statistic in zip((mean, variance), batch):
            tf.assign(average, 0.9 * average + 0.1 * statistic)
        return tf.reduce_sum(tf.nn.batch_normalization(logits, batch[0], batch[1], None, None, 1e-3, name="normed"))

    prefix = trained(tmp_path, build)
    arguments = ["--input=image=images:0", "--output=normed=normed/add_1:0"]
    result = run("export", "--checkpoint", prefix, *arguments, "--export-dir", tmp_path / "out")
    assert result.exit_code == (0 if updated else 3), result.output
    assert ("bn/mean: all 0, and bn/variance all 1" in result.output) is not updated


def of_regions():
    """One picture, its width, and regions of it with the picture's number in front, as detectors ask for them."""
    image = tf.placeholder(tf.float32, [1, None, None, 1], name="image")
    width = tf.placeholder(tf.int32, [None], name="width")
    regions = tf.placeholder(tf.float32, [None, 5], name="regions")
    kernel = tf.get_variable("conv/weights", [3, 3, 1, 4], initializer=tf.random_normal_initializer(seed=1))
    found = tf.nn.conv2d(image, kernel, [1, 1, 1, 1], "SAME")
    crops = tf.image.crop_and_resize(found, regions[:, 1:], tf.cast(regions[:, 0], tf.int32), [2, 2])
    tf.identity(crops, name="crops")
    line = tf.reshape(found, tf.stack([tf.shape(found)[1], width[0], 4]), name="rows")
    tf.reshape(found, tf.stack([tf.placeholder(tf.int32, [], name="cells") - 5, 4]), name="column")
    return tf.reduce_sum(line) + tf.reduce_sum(crops)


@pytest.fixture(scope="session")
def regions(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("regions"), of_regions)


def test_inputs_that_are_no_pictures_are_compared_on_values_that_the_graph_answers(run, tmp_path, regions):
    """A width that must be the picture's, and regions whose picture must exist."""
    arguments = ["--input=image=image:0", "--input=width=width:0[1]", "--input=regions=regions:0"]
    arguments += ["--output=crops=crops:0", "--output=rows=rows:0"]
    result = run("export", "--checkpoint", regions, *arguments, "-o", tmp_path)
    assert result.exit_code == 0, result.output
    asking = {"image": lines(1), "width": np.array([WIDTH], "int32"), "regions": np.ones([3, 5], "float32") * 0.3}
    found = asked(tmp_path / "1", **asking)
    wanted = of_training(regions, {"crops": "crops:0", "rows": "rows:0"}, **asking)
    for key, value in wanted.items():
        np.testing.assert_allclose(found[key], value, atol=1e-5)


OF_REGIONS = """
format: 1
signatures:
  serving_default:
    inputs:
      image: {tensor: "image:0", dtype: float32, shape: [1, 8, width, 1]}
      regions: {tensor: "regions:0", dtype: float32, shape: [regions, 5]}
    outputs:
      crops: {tensor: "crops:0", dtype: float32, shape: [regions, 2, 2, 4]}
parity:
  - dims: {width: 8, regions: 1}
    inputs: {image: {uniform: [0, 1]}, regions: {values: [[9, 0, 0, 1, 1]]}}
"""


def test_inputs_that_no_tried_value_fits_need_a_parity_part(run, tmp_path, regions):
    """And what the graph says about wrong values in one is a message too."""
    arguments = ["--checkpoint", regions, "-o", tmp_path / "base"]
    result = run(
        "export", *arguments, "--input=image=image:0[1,8,12,1]", "--input=cells=cells:0", "--output=column=column:0"
    )
    assert result.exit_code == 1 and "needs a 'parity' part that says how to make cells" in result.output
    own = tmp_path / "own.yaml"
    own.write_text(OF_REGIONS)
    result = run("export", "--model", own, *arguments)
    assert result.exit_code == 1 and not (tmp_path / "base").exists(), result.output
    assert "cannot run signature serving_default on these inputs" in result.output


def in_parts():
    """Logits of images as above, from a matrix whose rows are spread over two variables."""
    images = tf.placeholder(tf.float32, [None, HEIGHT, None, 1], name="images")
    with tf.variable_scope("net", partitioner=tf.fixed_size_partitioner(2)):
        kernel = tf.get_variable("kernel", [5, HEIGHT, 1, CLASSES], initializer=tf.random_normal_initializer())
        logits = tf.nn.conv2d(images, tf.convert_to_tensor(kernel), [1, 1, 1, 1], "SAME", name="logits")
    return tf.reduce_mean(logits**2)


def test_partitioned_variables_are_put_together(run, tmp_path):
    """The checkpoint has one tensor for all parts, of which each variable is a slice; inspect finds nothing missing."""
    prefix = trained(tmp_path, in_parts)
    assert "net/kernel" in tf.train.NewCheckpointReader(prefix).get_variable_to_shape_map()
    result = run(
        "export", "--checkpoint", prefix, "--input=image=images:0", "--output=net/logits", "-o", tmp_path / "b"
    )
    assert result.exit_code == 0, result.output
    found = asked(tmp_path / "b" / "1", image=lines())["logits"]
    np.testing.assert_allclose(found, of_training(prefix, "net/logits:0", images=lines()), atol=1e-5)
    content = json.loads(run("inspect", prefix, "--json").stdout)
    assert content["missing"] == [] and content["unused"] == []


def test_a_variable_is_found_under_the_name_that_its_saver_gives_it(run, tmp_path):
    """Saved with a dict of names, as for a backbone that others are to load; the graph's Saver says which is which."""

    def build():
        loss = training()
        names.update({"backbone/" + v.op.name: v for v in tf.trainable_variables()})
        return loss

    names = {}
    prefix = trained(tmp_path, build, var_list=names)
    result = run("export", "--checkpoint", prefix, *CRNN, "-o", tmp_path / "base")
    assert result.exit_code == 0, result.output
    found = asked(tmp_path / "base" / "1", image=lines())
    np.testing.assert_allclose(found["logits"], of_training(prefix, "logits:0", images=lines()), atol=1e-5)


def test_a_batch_dealt_out_to_towers_is_not_the_input_of_one(run, tmp_path):
    """One tower would answer for the first half of a request and keep quiet about the second; its share is the input."""

    def build():
        shares = tf.split(tf.placeholder(tf.float32, [None, HEIGHT, None, 1], name="images") / 2, 2)
        with tf.variable_scope("", reuse=tf.AUTO_REUSE):
            towers = [features(share) for share in shares]
        return tf.add_n([tf.reduce_mean(logits) for logits in towers])

    prefix = trained(tmp_path, build)
    arguments = ["--checkpoint", prefix, "-o", tmp_path / "base", "--output=logits:0"]
    for shape in ("", "[2,8,12,1]"):
        result = run("export", "--input=image=images:0" + shape, *arguments)
        assert result.exit_code == 3, result.output
        assert "split (Split): it splits the batch of images:0 between 2 towers" in result.output
        assert "make split:0 the input" in result.output
    result = run("export", "--input=image=split:0", *arguments)
    assert result.exit_code == 0, result.output
    both = ["--input=image=images:0[2,8,12,1]", "--output=logits_1:0"]
    assert run("export", *both, *arguments).exit_code == 0


def halves_of(x, how):
    """A batch in two shares, or in several."""
    half = tf.shape(x)[0] // 2
    return {
        "sizes": lambda: tf.split(x, [tf.constant(4), tf.constant(-1)], 0),
        "unstacked": lambda: [line[None] for line in tf.unstack(x)],
        "constants": lambda: [x[:4], x[4:]],
        "open end": lambda: [x[4:8], x[:4]],
        "computed": lambda: [x[number * half : (number + 1) * half] for number in range(2)],
        "slice": lambda: [tf.slice(x, [4 * number, 0, 0, 0], [4, -1, -1, -1]) for number in range(2)],
        "turns": lambda: [x[::2], x[1::2]],
        "twice": lambda: [x[:4] / 2 + x[:4], x[4:] / 2 + x[4:]],
    }[how]()


@pytest.mark.parametrize("how", ["sizes", "unstacked", "constants", "open end", "computed", "slice", "turns", "twice"])
def test_however_a_batch_is_dealt_out(run, tmp_path, how):
    """By SplitV, Unpack, or slices, with constants or a share of the batch; both towers together may be served."""

    def build():
        shares = halves_of(tf.placeholder(tf.float32, [8, HEIGHT, 12, 1], name="images") / 2, how)
        with tf.variable_scope("", reuse=tf.AUTO_REUSE):
            towers = [features(share) for share in shares[:2]]
        tf.concat(towers, 0, name="both")
        return tf.add_n([tf.reduce_mean(logits) for logits in towers])

    arguments = ["--checkpoint", trained(tmp_path, build), "-o", tmp_path / "base"]
    for image in ("images:0", "truediv:0"):
        result = run("export", f"--input=image={image}[8,8,12,1]", "--output=logits:0", *arguments)
        assert result.exit_code == 3, result.output
        assert f"it splits the batch of {image} between" in result.output and "the input instead" in result.output
    result = run("export", "--input=image=images:0[8,8,12,1]", "--output=both:0", *arguments)
    assert (result.exit_code == 0) == (how != "unstacked"), result.output


VIEWS_OF_LINES = {
    "columns": lambda x: [x[:, :, :6], x[:, :, 6:]],
    "columns by sizes": lambda x: tf.split(x, [6, 6], 2),
    "columns from the end": lambda x: tf.split(x, 2, -2),
    "channels": lambda x: [part[..., None] for part in tf.unstack(tf.concat([x, x], 3), axis=-1)],
    "slice": lambda x: [tf.slice(x, [0, 0, 6 * number, 0], [-1, -1, 6, -1]) for number in range(2)],
    "ellipsis": lambda x: [x[..., :1], x[..., -1:]],
    "first and all": lambda x: [x, x[:1]],
    "shifted": lambda x: [x[:-1], x[1:]],
}


@pytest.mark.parametrize("how", sorted(VIEWS_OF_LINES))
def test_views_of_all_lines_are_no_towers(run, tmp_path, how):
    """One of two halves of each picture may be all that is served; nor are lines that two slices share dealt out."""

    def build():
        views = VIEWS_OF_LINES[how](tf.placeholder(tf.float32, [None, HEIGHT, 12, 1], name="images"))
        with tf.variable_scope("", reuse=tf.AUTO_REUSE):
            return tf.add_n([tf.reduce_mean(features(view)) for view in views])

    result = run(
        "export",
        "--checkpoint",
        trained(tmp_path, build),
        "-o",
        tmp_path / "base",
        "--input=image=images:0",
        "--output=logits:0",
    )
    assert result.exit_code == 0, result.output


def test_a_pair_of_sizes_is_no_batch(run, tmp_path):
    """Of which the outputs need the first alone."""

    def build():
        images = tf.placeholder(tf.float32, [None, HEIGHT, None, 1], name="images")
        height, width = tf.unstack(tf.placeholder(tf.float32, [2], name="sizes"))
        return tf.reduce_mean(features(images * height)) * width

    prefix = trained(tmp_path, build)
    inputs = ["--input=image=images:0", "--input=sizes=sizes:0", "--output=logits:0"]
    result = run("export", "--checkpoint", prefix, "-o", tmp_path / "base", *inputs)
    assert result.exit_code == 0, result.output


def test_a_single_number_can_be_an_input(run, tmp_path):
    """A scalar, as thresholds and scales are: it is compared, and served, as one."""

    def build():
        images = tf.placeholder(tf.float32, [None, HEIGHT, None, 1], name="images")
        scale = tf.placeholder(tf.int32, [], name="scale")
        found = tf.cond(scale > 2, lambda: images * 2, lambda: images)
        return tf.reduce_mean(features(found))

    prefix = trained(tmp_path, build)
    arguments = ["--input=image=images:0", "--input=scale=scale:0", "--output=logits:0"]
    result = run("export", "--checkpoint", prefix, *arguments, "--keep-training-ops", "-o", tmp_path / "base")
    assert result.exit_code == 0, result.output
    found = asked(tmp_path / "base" / "1", image=lines(), scale=np.int32(3))["logits"]
    np.testing.assert_allclose(found, of_training(prefix, "logits:0", images=lines(), scale=3), atol=1e-5)


def test_averages_are_not_wanted_of_what_is_not_trained(run, tmp_path):
    """A frozen layer and batch norm's own averages, called as their author liked, are there but once: no choice, no note."""

    def build():
        images = tf.placeholder(tf.float32, [None, HEIGHT, None, 1], name="images")
        options = {"initializer": tf.constant_initializer(0.3), "trainable": False}
        frozen, mean, variance = [tf.get_variable(name, [1], **options) for name in ("frozen", "mean", "variance")]
        moments = tf.nn.moments(images * frozen, [0, 1, 2])
        pairs = zip((mean, variance), moments)
        updates = [tf.assign(held, held * 0.9 + new * 0.1) for held, new in pairs]
        with tf.control_dependencies(updates):
            logits = features(tf.nn.batch_normalization(images * frozen, *moments, None, None, 1e-3))
        return tf.reduce_mean(logits**2)

    prefix = trained(tmp_path, build, average=True)
    arguments = ["--checkpoint", prefix, "--input=image=images:0", "--output=logits:0", "--weights=ema"]
    result = run("export", *arguments, "-o", tmp_path / "base")
    assert result.exit_code == 0, result.output
    assert "replaced by mean, variance" in result.output and "no optimizer slots for frozen, as" in result.output
    names = {name.op.name for name in variables_of(tmp_path / "base" / "1")}
    assert names == {"conv/weights", "frozen", "logits/biases", "logits/weights", "mean", "variance"}


def variables_of(path):
    """The variables that a SavedModel restores, in a graph."""
    with tf.Graph().as_default() as graph, tf.Session() as session:
        tf.saved_model.loader.load(session, ["serve"], str(path))
        return [op.outputs[0] for op in graph.get_operations() if op.type in ("VariableV2", "VarHandleOp")]


def test_bytes_of_pictures_are_compared_on_a_picture(run, tmp_path):
    """The graph decodes what a request brings, line by line."""

    def build():
        content = tf.placeholder(tf.string, [None], name="content")

        def decoded(one):
            image = tf.image.decode_jpeg(one, channels=1)
            return tf.cast(tf.image.resize(tf.expand_dims(image, 0), [HEIGHT, WIDTH])[0], tf.float32)

        images = tf.map_fn(decoded, content, tf.float32)
        return tf.reduce_mean(features(tf.reshape(images / 255, [-1, HEIGHT, WIDTH, 1])))

    prefix = trained(tmp_path, build)
    arguments = ["--input=content=content:0", "--output=logits:0"]
    result = run("export", "--checkpoint", prefix, *arguments, "-o", tmp_path / "base")
    assert result.exit_code == 0, result.output
    assert "2 answers match the checkpoint" in result.output


@pytest.mark.parametrize("of_both", [False, True])
def test_a_name_that_two_variables_could_be_saved_under_is_nobodys(run, tmp_path, of_both):
    """A Saver that only ever reads a backbone gives the frozen copy the name that the trained one is saved under."""

    def build():
        images = tf.placeholder(tf.float32, [None, HEIGHT, None, 1], name="images")
        with tf.variable_scope("trained" if of_both else ""):
            loss = tf.reduce_mean(features(images) ** 2)
            mine = {v.op.name.replace("trained/", ""): v for v in tf.trainable_variables()}
        with tf.variable_scope("copy"):
            features(images)
        theirs = {v.op.name.replace("copy/", ""): v for v in tf.global_variables() if v.op.name.startswith("copy/")}
        assert set(theirs) == set(mine)
        tf.train.Saver(theirs)
        saved.update(mine)
        return loss

    saved = {}
    prefix = trained(tmp_path, build, var_list=saved)
    result = run(
        "export", "--checkpoint", prefix, "--input=image=images:0", "--output=copy/logits:0", "-o", tmp_path / "base"
    )
    assert result.exit_code == 1 and "copy/conv/weights: missing" in result.output, result.output
