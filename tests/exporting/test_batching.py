"""Batching parameters that an export writes into its version."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ckpt2saved.graph.tf1 import tf
from tests.support.checkpoints import write_checkpoint
from tests.support.command_line import exported

LENGTHS = {"input_batch_size": np.full([9], 16, "int32")}
PARAMETERS = "max_batch_size { value: 8 }\nbatch_timeout_micros { value: 1000 }\n"


@pytest.fixture
def parameters(tmp_path):
    path = tmp_path / "batching.config"
    path.write_text(PARAMETERS)
    return path


def test_a_version_has_them(run, tmp_path, crnn_checkpoint, parameters):
    """They count in its size and hash; the next version of bump-version keeps them, the next export does not."""
    base = tmp_path / "m"
    done = exported(run, base, crnn_checkpoint, "--batching-params", parameters)
    assert done.exit_code == 0, done.output
    assert (base / "1" / "batching_params.pbtxt").read_text() == PARAMETERS
    verified = run("verify", base / "1")
    assert verified.exit_code == 0 and "changed after" not in verified.output
    assert run("bump-version", base).exit_code == 0
    assert (base / "2" / "batching_params.pbtxt").read_text() == PARAMETERS
    assert exported(run, base, crnn_checkpoint).exit_code == 0
    assert not (base / "3" / "batching_params.pbtxt").exists()
    sizes = [json.loads((base / n / "assets.extra" / "ckpt2saved.json").read_text())["bytes"]["version"] for n in "13"]
    assert sizes[0] - sizes[1] == len(PARAMETERS)


def test_other_parameters_are_another_version(run, tmp_path, crnn_checkpoint, parameters):
    """With --skip-unchanged."""
    base = tmp_path / "m"
    how = ["--skip-unchanged", "--no-parity", "--batching-params", parameters]
    for text, count in ((PARAMETERS, 1), (PARAMETERS, 1), ("max_batch_size { value: 4 }\n", 2)):
        parameters.write_text(text)
        assert exported(run, base, crnn_checkpoint, *how).exit_code == 0
        assert len(list(base.glob("[0-9]*"))) == count


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ["--for-serving", "2.10"],
            2,
            "TF Serving 2.10.1 has no --enable_per_model_batching_parameters; expected 2.11",
        ),
        (
            ["--warmup-signature", "dense", "--warmup", "lines.npz"],
            1,
            "signature dense: 9 items, and max_batch_size of",
        ),
        (["--batching-params", "none"], 2, "--batching-params none: it cannot be read"),
    ],
)
def test_what_a_server_would_not_load(
    run, tmp_path, crnn_checkpoint, parameters, arguments, code, message, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    np.savez(str(tmp_path / "lines.npz"), input_data=np.zeros([9, 32, 64, 3], "float32"), **LENGTHS)
    done = exported(run, tmp_path / "m", crnn_checkpoint, "--no-parity", "--batching-params", parameters, *arguments)
    assert done.exit_code == code, done.output
    assert message in " ".join(done.output.split())
    assert not (tmp_path / "m").exists()


def build(variables, options):
    """As the function of a user: one answer for all items of a request."""
    x = tf.placeholder(tf.float32, [None, 3], name="x")
    weight = tf.get_variable("w", [3])
    return {"x": x, "y": tf.reduce_sum(x * weight)}


def test_a_model_that_batching_breaks(run, tmp_path, parameters):
    """No signature has a batch dimension."""
    write_checkpoint(tmp_path / "model", {"w": np.ones([3], "float32")})
    graph = ["--graph", f"{__name__}:build", "--checkpoint", tmp_path / "model", "--input", "x", "--output", "y"]
    done = run("export", *graph, "-o", tmp_path / "m", "--batching-params", parameters)
    assert done.exit_code == 3, done.output
    assert "no signature can be batched; leave it out" in " ".join(done.output.split())
    assert not (tmp_path / "m").exists()
