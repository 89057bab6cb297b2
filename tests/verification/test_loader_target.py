"""The command bench served on the files of a version, without a server."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ckpt2saved.errors import NotServable
from ckpt2saved.exporting.warm_up import write_warm_up
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.requests.warm_up.file import warm_up_request
from ckpt2saved.verification.speed.load import Load
from ckpt2saved.verification.speed.opening import Opening, open_target
from ckpt2saved.verification.speed.workload import Given, workload_for
from tests.support.saved_models import write_version

QUICK = ["--window", "0.1", "--most-windows", "3"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A model whose newest version has a convolution, a product, and something behind them. Not to be written to."""

    def build(images):
        hidden = tf.nn.relu(tf.nn.conv2d(images, tf.Variable(tf.ones([3, 3, 1, 2])), strides=1, padding="SAME"))
        logits = tf.tensordot(tf.reduce_mean(hidden, [1, 2]), tf.Variable(tf.ones([2, 5])), 1)
        return {"y": tf.nn.softmax(logits)}

    base = tmp_path_factory.mktemp("models") / "net"
    base.mkdir()
    write_version(base / "7", build, shape=(None, 8, None, 1), restores=True)
    return base


def test_settings_are_measured_with_a_profile(base, run_apart):
    """The newest version below a base; both settings of oneDNN are told apart, and compared."""
    result = run_apart(
        "bench", "served", base, "--widths", "40", "--batch", "2", "--intra-op", "1", "--inter-op", "1,2", "--onednn",
        "off", "--profile", "--json", *QUICK,
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    content = json.loads(result.stdout)
    assert "the C++ loader in a process of its own" in result.stderr
    assert f"{base / '7'} (intra-op 1, inter-op 2, oneDNN off): concurrency 1, batch 2: p50" in result.stderr
    for number, target in enumerate(content["targets"]):
        assert (target["driver"], target["model"], target["version"]) == ("loader", "net", 7)
        assert target["gpus"] == 0
        settings = target["settings"]
        assert (settings["intra_op"], settings["inter_op"], settings["onednn"]) == (1, number + 1, False)
        (row,) = target["rows"]
        assert (
            row["concurrency"] == 1 and row["failures"] == {} and row["bytes_sent"] >= row["requests"] * 2 * 8 * 40 * 4
        )
        (profile,) = target["profile"]
        groups = {one["group"] for one in profile["groups"]}
        assert {"convolutions", "dense layers", "decoder", "transfers"} <= groups
    assert len(content["targets"]) == 2 and content["comparison"]["rows"]


def test_what_only_a_version_or_a_server_has(base, run_apart, tmp_path):
    result = run_apart("bench", "served", base, "--model-name", "m")
    assert result.exit_code == 2 and "--model-name: only with the address of a server" in result.stderr
    result = run_apart("bench", "served", base, "--mixed-precision", "bfloat16", "--onednn", "off")
    assert result.exit_code == 2 and "leave --onednn out" in result.stderr
    result = run_apart("bench", "served", "http://localhost:1/v1/models/m", "--onednn", "off")
    assert result.exit_code == 2 and "--onednn: only with the directory of a version" in result.stderr
    result = run_apart("bench", "served", "http://localhost:1/v1/models/m", "--gpu")
    assert result.exit_code == 2 and "--gpu: only with the directory of a version" in result.stderr
    result = run_apart("bench", "served", base, "--gpu")
    assert result.exit_code == 1 and "finds no GPU; expected one that nvidia-smi lists" in result.stderr
    result = run_apart("bench", "served", base, "--plot", tmp_path / "none" / "m.png")
    assert result.exit_code == 2 and "m.png: there is no directory" in result.stderr
    result = run_apart("bench", "served", tmp_path)
    assert result.exit_code == 1


def test_a_process_that_ends_ends_the_measurement(base):
    """It would be measured as failing hundreds of thousands of times a second."""
    target = open_target(base, Opening())
    with target, pytest.raises(NotServable, match="7: .*the process has ended"):
        request = workload_for(target, Given()).requests(1)[0]
        assert target.predict(request).failure is None
        with Load(target, [request], 2, None) as load:
            load.window(0.05, 1)
            target._process._worker.interrupt(10)
            load.window(5, 1)


def test_warm_up_requests_are_the_load_where_pictures_are_not_taken(tmp_path, run_apart):
    """Made-up ids would all fail: the table has five rows, of ids from 7 on."""
    version = tmp_path / "ids" / "1"
    version.parent.mkdir()
    write_version(version, lambda ids: {"y": tf.gather(tf.ones([5, 2]), ids - 7)}, "int32", (None, 3), key="ids")
    given = [warm_up_request("serving_default", {"ids": np.array([ids], np.int32)}) for ids in ([7, 8, 9], [11, 10, 7])]
    write_warm_up(version, given, "ids")
    result = run_apart("bench", "served", version, "--batch", "2", "--json", *QUICK)
    assert result.exit_code == 0, result.stderr
    for row in json.loads(result.stdout)["targets"][0]["rows"]:
        assert row["failures"] == {} and row["lines"] == 2 * row["requests"]
