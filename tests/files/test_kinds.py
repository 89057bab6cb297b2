"""What people bring instead of a checkpoint is told by its first bytes, and the message says what to do with it."""

from __future__ import annotations

import io
import os
import random
import re
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ckpt2saved.checkpoint.files import find_checkpoint
from ckpt2saved.errors import CheckpointError
from ckpt2saved.errors.problem import texts
from ckpt2saved.files.kinds import kind_of
from ckpt2saved.graph.tf1 import tf

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00ff\nsize 9600\n"


def zipped(*names):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name in names:
            file.writestr(name, b"1")
    return content.getvalue()


def tarred(*names):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as file:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 1
            file.addfile(member, io.BytesIO(b"1"))
    return content.getvalue()


def graph_def(variables):
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 8], name="x")
        weight = tf.get_variable("w", [8, 3], use_resource=False) if variables else tf.constant(np.ones([8, 3], "f"))
        tf.matmul(x, weight, name="p")
    return graph.as_graph_def()


def message(kind, as_text=False):
    """A graph in one of the messages that hold graphs."""
    from google.protobuf import text_format

    from ckpt2saved.graph.tf1 import SavedModel

    if kind == "meta":
        made = tf.train.export_meta_graph(graph_def=graph_def(True), graph=tf.Graph())
    elif kind == "saved":
        made = SavedModel()
        made.saved_model_schema_version = 1
        made.meta_graphs.add().graph_def.CopyFrom(graph_def(False))
    else:
        made = graph_def(kind == "variables")
    return text_format.MessageToString(made).encode() if as_text else made.SerializeToString()


KINDS = {
    "lfs": (lambda: LFS, "a Git LFS pointer", "git lfs pull"),
    "h5": (
        lambda: b"\x89HDF\r\n\x1a\n" + bytes(2000),
        "an HDF5 file, as Keras saves",
        "export takes a model as --graph",
    ),
    "keras": (
        lambda: zipped("metadata.json", "config.json", "model.weights.h5"),
        "a model that Keras 3 saved (.keras)",
        "export takes a model as --graph",
    ),
    "torch": (lambda: zipped("archive/data.pkl", "archive/data/0"), "a PyTorch file", "convert it"),
    "torch legacy": (
        lambda: b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.",
        "a PyTorch file",
        "convert it",
    ),
    "torch tar": (lambda: tarred("sys_info", "pickle", "tensors"), "a PyTorch file", "convert it"),
    "pickle": (lambda: b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00}\x94.", "a Python pickle", "pass the checkpoint"),
    "onnx": (lambda: b"\x08\x07\x12\x07pytorch\x1a\x032.0" + bytes(100), "an ONNX model", "convert it"),
    "tflite": (lambda: b"\x1c\x00\x00\x00TFL3" + bytes(100), "a TensorFlow Lite model", "pass the checkpoint"),
    "tfjs": (lambda: b'{"format": "graph-model", "modelTopology": {}}', "a model of TensorFlow.js", "convert it"),
    "zip": (lambda: zipped("m/m.ckpt.index", "m/m.ckpt.data-00000-of-00001"), "a zip archive with a checkpoint", "unp"),
    "broken zip": (lambda: zipped("a")[:40], "a zip archive that is cut short", "again"),
    "tar": (lambda: tarred("1/saved_model.pb", "1/variables/"), "a tar archive with a SavedModel", "unpack it"),
    "gz": (lambda: b"\x1f\x8b\x08\x00" + bytes(50), "an archive (gzip)", "unpack it"),
    "npz": (lambda: zipped("w.npy", "b.npy"), "a .npz of numpy arrays", "pass the checkpoint"),
    "html": (
        lambda: b"\n<!DOCTYPE html>\n<html><title>404</title></html>",
        "a page of HTML",
        "download the file itself",
    ),
    "xml": (lambda: b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>", "an XML text", "download"),
    "empty": (lambda: b"", "an empty file", "again"),
    "frozen": (lambda: message("frozen"), "a frozen graph (GraphDef", "--graph, without --checkpoint"),
    "graph": (lambda: message("variables"), "a graph (GraphDef), which holds no variables", ".meta file"),
    "graph text": (lambda: message("frozen", True), "a graph as text (GraphDef)", ".meta file"),
    "meta": (lambda: message("meta"), "a training's graph (MetaGraphDef)", "--graph"),
    "meta text": (lambda: message("meta", True), "a training's graph as text (MetaGraphDef)", "--graph"),
    "saved": (lambda: message("saved"), "a SavedModel's graph", "bump-version BASE --from"),
    "saved text": (lambda: message("saved", True), "a SavedModel as text", "bump-version BASE --from"),
    "cut graph": (lambda: message("frozen")[:-3], "a graph (GraphDef) that is cut short", "again"),
    "safetensors": (lambda: (14).to_bytes(8, "little") + b'{"w":{"a":1}} ' + bytes(9), "a safetensors file", "convert"),
}


@pytest.mark.parametrize("name", sorted(KINDS))
def test_files_are_told_by_their_first_bytes(name, tmp_path):
    """Whatever they are called; the refusal of such a checkpoint says what the file is and what to do."""
    make, what, remedy = KINDS[name]
    path = tmp_path / "model"
    path.write_bytes(make())
    kind = kind_of(path)
    assert kind and what in kind.what and remedy in kind.remedy
    if name != "empty":
        with pytest.raises(CheckpointError) as caught:
            find_checkpoint(path)
        assert str(caught.value) == f"{path}: this is {kind.what}, not a checkpoint: {kind.remedy}"


NOISE = bytes(random.Random(7).getrandbits(8) for _ in range(4096))


@pytest.mark.parametrize(
    "content",
    [b"\n", b"hello", b"\x0a\x05hello", b"\x08\x01", bytes(4096), NOISE],
    ids=["newline", "text", "field-1", "varint", "zeros", "noise"],
)
def test_other_files_are_called_nothing(content, tmp_path):
    """No guess is made, and none takes long."""
    (tmp_path / "file").write_bytes(content)
    assert kind_of(tmp_path / "file") is None
    assert kind_of(tmp_path / "nowhere") is None


def saved(directory, **saver):
    """A checkpoint with its graph: p = x . w."""
    directory.mkdir(parents=True)
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [None, 8], name="x")
        weight = tf.get_variable("w", [8, 3], use_resource=False)
        other = tf.get_variable("v", [3], use_resource=False)
        tf.add(tf.matmul(x, weight), other, name="p")
        session.run(tf.global_variables_initializer())
        tf.train.Saver(**saver).save(session, str(directory / "m.ckpt"))
    return directory


def exported(run, checkpoint, base, *options):
    return run("export", "-c", checkpoint, "--input=x=x:0", "--output=p=p:0", "-o", base, *options)


@pytest.mark.parametrize("name", ["m.ckpt.index", "m.ckpt.data-00000-of-00001", "checkpoint", "m.ckpt.meta"])
def test_files_that_git_lfs_has_not_fetched(run, tmp_path, name):
    """Each of a checkpoint's, given as the directory."""
    directory = saved(tmp_path / "run")
    (directory / name).write_bytes(LFS)
    result = exported(run, directory, tmp_path / "m")
    assert result.exit_code == 1 and "git lfs pull" in result.output, result.output


def sharded(tmp_path):
    directory = saved(tmp_path / "run", sharded=True, write_version=tf.train.SaverDef.V1)
    # One device makes one file; TensorFlow reads any number by the pattern.
    with tf.Graph().as_default(), tf.Session() as session:
        reader = tf.train.NewCheckpointReader(str(directory / "m.ckpt-?????-of-00001"))
        values = {name: reader.get_tensor(name) for name in ("w", "v")}
        for number, name in enumerate(("w", "v")):
            session.run(
                tf.raw_ops.SaveSlices(
                    filename=str(directory / f"m.ckpt-{number:05d}-of-00002"),
                    tensor_names=[name],
                    shapes_and_slices=[""],
                    data=[tf.constant(values[name])],
                )
            )
    (directory / "m.ckpt-00000-of-00001").unlink()
    state = directory / "checkpoint"
    state.write_text(state.read_text().replace("of-00001", "of-00002"))
    return directory, values


@pytest.mark.parametrize(
    "given", ["", "m.ckpt", "m.ckpt-?????-of-00002", "m.ckpt-00001-of-00002", "m.ckpt.meta", "checkpoint", "no state"]
)
def test_a_v1_checkpoint_of_several_files(run, tmp_path, given):
    """Whichever of its files is given, or the beginning of their names."""
    directory, values = sharded(tmp_path)
    if given == "no state":
        (directory / "checkpoint").unlink()
    files = find_checkpoint(directory / given if given != "no state" else directory)
    assert files.is_v1 and [file.name for file in files.files] == ["m.ckpt-00000-of-00002", "m.ckpt-00001-of-00002"]
    assert files.prefix.name == "m.ckpt-?????-of-00002" and files.meta == directory / "m.ckpt.meta"
    if given in ("", "m.ckpt-00001-of-00002"):
        result = exported(run, directory / given, tmp_path / "m")
        assert result.exit_code == 0, result.output
        reader = tf.train.NewCheckpointReader(str(tmp_path / "m" / "1" / "variables" / "variables"))
        np.testing.assert_array_equal(reader.get_tensor("v"), values["v"])
        assert run("inspect", directory / given).exit_code == 0


def test_a_v1_checkpoint_that_lacks_a_file(tmp_path):
    """Is damaged, and which file it lacks is said."""
    directory, _ = sharded(tmp_path)
    (directory / "m.ckpt-00000-of-00002").unlink()
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint(directory)
    assert tuple(texts(caught.value.problems)) == ("m.ckpt-00000-of-00002: missing",)


@pytest.mark.parametrize("name", ["lr=[0.1]", "what?", "a*", "back\\slash", "[!x]"])
def test_characters_that_tensorflow_takes_for_a_pattern(run, tmp_path, monkeypatch, name):
    """In the checkpoint's directory, its name, and the model's; a glob would find nothing, or another checkpoint."""
    other = saved(tmp_path / "lr=0")
    directory = tmp_path / name
    shutil.copytree(str(saved(tmp_path / "run")), str(directory))
    for file in list(directory.glob("m.ckpt*")):
        os.rename(str(file), str(directory / (name + file.name[6:])))
    (directory / "checkpoint").unlink()
    values = tf.train.NewCheckpointReader(str(tmp_path / "run" / "m.ckpt"))
    base = tmp_path / "models" / name
    result = exported(run, directory, base)
    assert result.exit_code == 0, result.output
    assert "match the checkpoint" in result.output
    assert "note        TF Serving finds no variables under a path with [ ] * ? or a backslash" in result.output
    shutil.copytree(str(base), str(tmp_path / "plain"))
    reader = tf.train.NewCheckpointReader(str(tmp_path / "plain" / "1" / "variables" / "variables"))
    np.testing.assert_array_equal(reader.get_tensor("w"), values.get_tensor("w"))
    assert run("inspect", directory / name).exit_code == 0
    result = run("verify", base, "-c", directory, "--input=x=x:0", "--output=p=p:0")
    assert result.exit_code == 0, result.output
    result = run("verify", base, "-c", other, "--input=x=x:0", "--output=p=p:0")
    assert result.exit_code == 3, result.output


def test_a_session_bundle_is_its_checkpoint_and_its_graph(run, tmp_path):
    """What TensorFlow wrote for serving before SavedModels: export.meta and a sharded checkpoint beside it."""
    directory = saved(tmp_path / "run", sharded=True, write_version=tf.train.SaverDef.V1)
    bundle = tmp_path / "00000001"
    bundle.mkdir()
    shutil.copy(str(directory / "m.ckpt.meta"), str(bundle / "export.meta"))
    shutil.copy(str(directory / "m.ckpt-00000-of-00001"), str(bundle / "export-00000-of-00001"))
    result = exported(run, bundle, tmp_path / "m")
    assert result.exit_code == 0, result.output
    assert run("inspect", bundle).exit_code == 0
    result = run("verify", bundle)
    assert result.exit_code == 1 and "a SessionBundle, which TF Serving no longer loads" in result.output


def test_a_hub_module_and_a_saved_model_name_the_way(tmp_path):
    """Directories that have variables, and are no checkpoints themselves."""
    for name in ("saved_model.pb", "tfhub_module.pb"):
        (tmp_path / name).write_bytes(b"1")
        with pytest.raises(CheckpointError, match=re.escape(str(tmp_path / "variables" / "variables"))):
            find_checkpoint(tmp_path)


def test_what_else_is_in_a_directory_is_said(tmp_path):
    """Of a directory without a checkpoint."""
    (tmp_path / "weights.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint(tmp_path)
    (problem,) = texts(caught.value.problems)
    assert problem.startswith("weights.h5: this is an HDF5 file")


def test_every_command_says_what_a_file_is(run, tmp_path):
    """Of a frozen graph, where something else is expected."""
    directory, frozen = saved(tmp_path / "run"), tmp_path / "frozen.pb"
    frozen.write_bytes(message("frozen"))
    for arguments in (
        ["verify", frozen],
        ["doctor", frozen],
        ["export", "-c", frozen, "--model", "crnn", "-o", tmp_path / "m"],
    ):
        result = run(*arguments)
        assert result.exit_code == 1 and "this is a frozen graph" in result.output, result.output
    result = run("bump-version", tmp_path / "m", "--from", frozen)
    assert result.exit_code == 1 and "this is a frozen graph" in result.output, result.output
    for command in ("verify", "doctor"):
        result = run(command, directory)
        assert result.exit_code == 1 and "this is a checkpoint, not a version: publish it with" in result.output


KERAS_3 = zipped("metadata.json", "config.json", "model.weights.h5")
FOREIGN = {
    "frozen.pb": (lambda: message("frozen"), "a frozen graph", "export takes it as --graph"),
    "graph.pbtxt": (lambda: message("frozen", True), "a graph as text (GraphDef)", "pass the checkpoint"),
    "m.h5": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(100), "an HDF5 file", "export takes a model as --graph"),
    "m.weights.h5": (
        lambda: b"\x89HDF\r\n\x1a\n" + bytes(100),
        "an HDF5 file",
        "weights alone (.weights.h5) as --checkpoint",
    ),
    "m.keras": (lambda: KERAS_3, "a model that Keras 3 saved", "export takes a model as --graph"),
    "lfs.yaml": (lambda: LFS, "a Git LFS pointer", "git lfs pull"),
    "m.pt": (lambda: zipped("archive/data.pkl", "archive/data/0"), "a PyTorch file", "convert it"),
}


GRAPHS = ("frozen.pb", "m.h5", "m.weights.h5", "m.keras")  # what export takes as --graph


def read(run, path):
    """What the commands say that read a base directory."""
    commands = (["list"], ["prune", "--keep", "1"], ["serving-config", "-o", path.parent / "config"])
    results = [run(command[0], path, *command[1:]) for command in commands]
    assert {result.exit_code for result in results} == {1}, results
    return [result.output for result in results]


@pytest.mark.parametrize("name", sorted(FOREIGN))
def test_what_is_given_instead_of_a_base_is_named(run, tmp_path, name):
    """Wherever a base directory, a signature file or a graph is expected; before anything else is asked for."""
    make, what, remedy = FOREIGN[name]
    path = tmp_path / name
    path.write_bytes(make())
    said = read(run, path)
    commands = [
        ["export", "-c", tmp_path / "run", "--model", path, "-o", tmp_path / "m"],
        ["export", "-c", tmp_path / "run", "--model", "crnn", "-o", path],
        ["bump-version", path, "--from", tmp_path],
    ]
    if name not in GRAPHS:
        commands.append(["export", "-c", tmp_path / "run", "--graph", path, "-o", tmp_path / "m"])
    for arguments in commands:
        result = run(*arguments)
        assert result.exit_code == 1, result.output
        said.append(result.output)
    for text in said:
        assert "this is " + what in text and remedy in text, text
    assert "not the base directory of a model" in said[0] and "not a signature file" in said[3]
    assert not (tmp_path / "m").exists() and not (tmp_path / "config").exists()


@pytest.mark.parametrize("given", ["", "m.ckpt", "m.ckpt.index", "m.ckpt.data-00000-of-00001", "checkpoint"])
def test_a_checkpoint_instead_of_a_base(run, tmp_path, given):
    """By any of its names; how it is published is said, and nothing is called a base without versions."""
    path = saved(tmp_path / "run") / given
    way = f"ckpt2saved export --checkpoint {tmp_path / 'run' / 'm.ckpt'} --export-dir BASE"
    for text in read(run, path):
        assert f"{path}: this is a checkpoint, not the base directory of a model" in text and way in text
    result = run("export", "-c", path, "--model", path, "-o", tmp_path / "m")
    assert result.exit_code == 1 and "this is a checkpoint, not a signature file: pass it as" in result.output
    result = run("export", "-c", path, "--graph", path, "-o", tmp_path / "m")
    assert result.exit_code == 1 and f"not a training's graph: pass {tmp_path / 'run' / 'm.ckpt.meta'}" in (
        result.output
    )


def test_several_checkpoints_instead_of_a_base(run, tmp_path):
    """Without a state file that says which of them is the latest."""
    directory = saved(tmp_path / "run")
    (directory / "checkpoint").unlink()
    for file in list(directory.glob("m.ckpt.*")):
        shutil.copy(str(file), str(directory / file.name.replace("m.ckpt", "n.ckpt")))
    for text in read(run, directory):
        assert "this is a directory of 2 checkpoints" in text


def test_a_base_beside_a_checkpoint_of_its_name_is_a_base(run, tmp_path):
    """And so is one inside of a training's directory that has versions."""
    directory = saved(tmp_path / "run")
    (directory / "m.ckpt").mkdir()
    result = run("list", directory / "m.ckpt")
    assert result.exit_code == 0 and "no versions yet" in result.output
    assert exported(run, directory / "m.ckpt.index", directory).exit_code == 0
    result = run("list", directory)
    assert result.exit_code == 0 and "m.ckpt" in result.output


def test_other_directories_instead_of_a_base(run, tmp_path):
    """A SessionBundle; a SavedModel under a number or a name; the file of its graph."""
    directory, bundle = saved(tmp_path / "run"), tmp_path / "00000001"
    bundle.mkdir()
    shutil.copy(str(directory / "m.ckpt.meta"), str(bundle / "export.meta"))
    for text in read(run, bundle):
        assert "this is a SessionBundle" in text and f"--graph {bundle / 'export.meta'}" in text
    result = run("list", tmp_path)  # it counts as a version there
    assert "this is a SessionBundle" in result.output
    assert exported(run, directory, tmp_path / "m").exit_code == 0
    for path in (tmp_path / "m" / "1", tmp_path / "m" / "1" / "saved_model.pb"):
        for text in read(run, path):
            assert "not the base directory of a model; pass " in text and str(tmp_path / "m") + "\n" in text
    shutil.copytree(str(tmp_path / "m" / "1"), str(tmp_path / "elsewhere"))
    for text in read(run, tmp_path / "elsewhere"):
        assert f"bump-version BASE --from {tmp_path / 'elsewhere'}" in text


def test_a_training_graph_of_any_name_is_taken(run, tmp_path):
    """As text too."""
    directory = saved(tmp_path / "run")
    (directory / "m.ckpt.meta").unlink()
    for as_text, name in ((False, "graph"), (True, "graph.pbtxt")):
        (tmp_path / name).write_bytes(message("meta", as_text))
        result = exported(run, directory, tmp_path / "m", "--graph", tmp_path / name)
        assert result.exit_code == 0, result.output
    assert run("inspect", tmp_path / "graph.pbtxt").exit_code == 0


def test_tensorflow_itself_finds_nothing_under_such_a_path(run, tmp_path):
    """Which is why there are links: the day that this fails, they can go."""
    directory = saved(tmp_path / "lr=[0.1]")
    with pytest.raises((tf.errors.OpError, ValueError, RuntimeError)):
        tf.train.NewCheckpointReader(str(directory / "m.ckpt"))


def test_the_graph_of_another_training(run, tmp_path):
    """None of its variables is in the checkpoint."""
    directory, other = saved(tmp_path / "run"), tmp_path / "other"
    with tf.Graph().as_default(), tf.Session() as session:
        tf.matmul(tf.placeholder(tf.float32, [None, 8], name="x"), tf.get_variable("u", [8, 3]), name="p")
        session.run(tf.global_variables_initializer())
        tf.train.Saver().save(session, str(other / "m.ckpt"))
    result = exported(run, directory, tmp_path / "m", "--graph", other / "m.ckpt.meta")
    assert result.exit_code == 1
    assert "none of them is in the checkpoint: is the graph of another training?\n  - u: missing" in result.output


def test_addresses_and_paths_of_windows(tmp_path, monkeypatch):
    """The way is named."""
    saved(tmp_path / "run")
    monkeypatch.chdir(str(tmp_path))
    with pytest.raises(CheckpointError, match="this is an address, .* copy its files here"):
        find_checkpoint(Path("gs://bucket/run/m.ckpt"))
    for given in ("run\\m.ckpt", "run\\m.ckpt.index"):
        with pytest.raises(CheckpointError, match="did you mean run/m.ckpt"):
            find_checkpoint(Path(given))
