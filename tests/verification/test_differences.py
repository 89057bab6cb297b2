"""Differences of two SavedModels, and the command `diff`."""

from __future__ import annotations

import errno
import json
import os
import shutil

import numpy as np
import pytest

from ckpt2saved.errors import VersionError
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.signature.tensors import Signature, TensorSpec
from ckpt2saved.verification import differences as module
from ckpt2saved.verification.differences import compare_signatures, differences
from tests.support.saved_models import write_version
from tests.support.versions import version_of


def signature(name="serving_default", inputs=(), outputs=(), method="tensorflow/serving/predict"):
    def specs(side):
        return tuple(TensorSpec(key, f"{key}:0", dtype, shape) for key, dtype, shape in side)

    return {name: Signature(name, specs(inputs), specs(outputs), method)}


OLD = signature(inputs=[("image", "float32", (None, 32, None, 3))], outputs=[("ids", "int32", (None, None))])


def changed(inputs=(("image", "float32", (None, 32, None, 3)),), outputs=(("ids", "int32", (None, None)),), **other):
    return signature(inputs=inputs, outputs=outputs, **other)


@pytest.mark.parametrize(
    "new, expected",
    [
        ({}, "signature serving_default: it is gone; keep it, or publish under another model name"),
        (changed(method="tensorflow/serving/classify"), "its method is 'tensorflow/serving/classify', and was"),
        (changed(inputs=[]), "input image: it is gone"),
        (
            changed(inputs=[("image", "uint8", (None, 32, None, 3))]),
            "its dtype is uint8, and was float32; keep it as it was, or publish",
        ),
        (
            changed(inputs=[("image", "float32", (None, 32, 100, 3))]),
            "its shape is [?, 32, 100, 3], and was [?, 32, ?, 3]",
        ),
        (changed(inputs=[("image", "float32", (None, 48, None, 3))]), "its shape is [?, 48, ?, 3], and was"),
        (changed(inputs=[("image", "float32", (32, None, 3))]), "its shape is [32, ?, 3], and was"),
        (
            changed(inputs=[("image", "float32", (None, 32, None, 3)), ("widths", "int32", (None,))]),
            "input widths: it is new, and requests without it fail; remove it, or publish",
        ),
        (changed(outputs=[("text", "string", (None,))]), "output ids: it is gone"),
        (changed(outputs=[("ids", "int64", (None, None))]), "output ids: its dtype is int64, and was int32"),
        (changed(outputs=[("ids", "int32", (None,))]), "output ids: its shape is [?], and was [?, ?]"),
    ],
)
def test_what_breaks_clients(new, expected):
    problems, _ = compare_signatures(OLD, new)
    assert any(expected in problem.text for problem in problems), problems
    assert {problem.code for problem in problems} == {"breaks-clients"}


@pytest.mark.parametrize(
    "old, new, expected",
    [
        (OLD, changed(inputs=[("image", "float32", None)]), "its shape is of unknown rank, and was"),
        (OLD, changed(inputs=[("image", "float32", (None, None, None, 3))]), "its shape is [?, ?, ?, 3], and was"),
        (
            OLD,
            changed(outputs=[("ids", "int32", (None, None)), ("score", "float32", (None,))]),
            "output score: it is new",
        ),
        (OLD, {**OLD, **signature("text")}, "signature text: it is new"),
        (
            signature(outputs=[("ids", "int32", (None, 25))]),
            signature(outputs=[("ids", "int32", (None, None))]),
            "[?, ?]",
        ),
    ],
)
def test_what_clients_can_use(old, new, expected):
    problems, notes = compare_signatures(old, new)
    assert problems == []
    assert [expected in note.text for note in notes] == [True]


def write(directory, weights, function=tf.identity, key="y"):
    """A SavedModel: y = function(x * w)."""

    def build(x):
        w = tf.get_variable("w", initializer=np.array(weights, "float32"), use_resource=False)
        return {key: tf.identity(function(x * w), name="y")}

    return write_version(directory, build, shape=(None, len(weights)), restores=True)


def found(old, new):
    both = differences(old, new)
    return [problem.text for problem in both.problems], [f"{note.where}: {note.found}" for note in both.notes]


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    return write(tmp_path_factory.mktemp("models") / "1", [1.0, 2.0])


def test_the_same_content(old, tmp_path):
    assert found(old, write(tmp_path / "2", [1.0, 2.0])) == ([], [])


def test_other_values(old, tmp_path):
    assert found(old, write(tmp_path / "2", [1.0, 3.0])) == ([], ["variables: 1 of 1 has other values: w"])


def test_other_shapes(old, tmp_path):
    problems, notes = found(old, write(tmp_path / "2", [1.0, 2.0, 3.0]))
    assert len(problems) == 2  # x and y
    assert "variables: 1 of 1 has another dtype or shape: w is float32 [3], and was float32 [2]" in notes


def test_other_ops(old, tmp_path):
    problems, notes = found(old, write(tmp_path / "2", [1.0, 2.0], function=tf.nn.relu))
    assert problems == []
    assert notes == [
        "graph: 1 node is new (1 Relu); 1 node is gone (1 Identity); 1 node is changed (1 Identity)",
        "graph: it uses ops that it did not use: Relu",
    ]


def test_other_files(old, tmp_path):
    new = write(tmp_path / "2", [1.0, 2.0])
    (new / "assets.extra").mkdir()
    (new / "assets.extra" / "notes.txt").write_text("a")
    assert found(old, new) == ([], ["assets.extra/notes.txt: the file is new"])


def test_the_command(run_apart, old, tmp_path):
    new = write(tmp_path / "2", [1.0, 2.0], key="z")
    done = run_apart("diff", old, new)
    assert done.exit_code == 3
    assert "breaks     signature serving_default, output y: it is gone" in done.stdout
    assert "differs    signature serving_default, output z: it is new" in done.stdout
    assert done.stderr == f"Error: {new}: clients of {old} could not use it, for 1 reason\n"
    content = json.loads(run_apart("diff", old, new, "--json").stdout)
    assert (content["same"], [one["code"] for one in content["problem_details"]]) == (False, ["breaks-clients"])
    done = run_apart("diff", old, old)
    assert (done.exit_code, done.stderr) == (0, "")
    assert "same       signatures, graph, variables and files" in done.stdout


def test_what_cannot_be_loaded_is_not_compared(run_apart, old, tmp_path):
    new = write(tmp_path / "2", [1.0, 2.0])
    (new / "variables" / "variables.index").unlink()
    done = run_apart("diff", old, new)
    assert done.exit_code == 1
    assert f"{new}: can't be compared, since TF Serving could not load it" in done.stderr


def test_a_version_that_is_deleted_meanwhile_is_said_so(tmp_path, monkeypatch):
    """As by a prune; or its disk fails."""
    old, new = version_of(tmp_path, 1), version_of(tmp_path, 2)

    def walk(directory):
        shutil.rmtree(str(new))
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(new))

    monkeypatch.setattr(module, "walk", walk)
    with pytest.raises(VersionError, match=f"{new}: could not compare it with {old}: No such file or directory"):
        differences(old, new)
