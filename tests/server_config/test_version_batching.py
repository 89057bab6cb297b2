"""Batching parameters inside of versions: written with a new version, and read by a server that has the flag."""

from __future__ import annotations

import os

import numpy as np
import pytest

from ckpt2saved.exporting.warm_up import write_warm_up
from ckpt2saved.files.reading import sha256_of
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.requests.warm_up.file import warm_up_request
from ckpt2saved.versions import content
from ckpt2saved.versions.content import is_altered, recorded_content
from ckpt2saved.versions.provenance import PROVENANCE
from tests.support.published_models import CRNN, FIXED_LINES, publish, succeeded
from tests.support.saved_models import write_version
from tests.support.versions import record_content

SCORES = {"score": ("float32", [-1])}
GOOD = "max_batch_size { value: 8 }\nallowed_batch_sizes: 2\nallowed_batch_sizes: 8\n"


@pytest.fixture
def model(tmp_path):
    return publish(tmp_path / "models" / "crnn", 1, signatures={"serving_default": (FIXED_LINES, SCORES)})


def test_a_version_gets_them_when_it_is_published(run, tmp_path, model):
    """With the version, not before and not after; the source stays as it is."""
    path = tmp_path / "batching.config"
    path.write_text(GOOD)
    succeeded(run("bump-version", model, "--batching-params", path))
    assert (model / "2" / "batching_params.pbtxt").read_text() == GOOD
    assert not (model / "1" / "batching_params.pbtxt").exists()
    succeeded(run("bump-version", model))
    assert (model / "3" / "batching_params.pbtxt").read_text() == GOOD
    path.write_text("max_batch_size { value: 4 }\n")
    succeeded(run("bump-version", model, "--batching-params", path))
    assert [(model / number / "batching_params.pbtxt").read_text() == GOOD for number in "234"] == [True, True, False]


def test_the_files_are_read_once(run, tmp_path, monkeypatch, model):
    """For all checks together, as large ones take time; the version's hash is that with the new parameters."""
    path = tmp_path / "batching.config"
    path.write_text(GOOD)
    (model / "1" / PROVENANCE).parent.mkdir()
    (model / "1" / PROVENANCE).write_text("{}")
    record_content(model / "1")
    read = []

    def counting(path):
        read.append(os.path.basename(path))
        return sha256_of(path)

    monkeypatch.setattr(content, "sha256_of", counting)
    succeeded(run("bump-version", model, "--batching-params", path, "--compatible-with", "newest"))
    assert sorted(read) == sorted(one.name for one in model.glob("1/**/*") if one.is_file() and one.suffix != ".json")
    monkeypatch.undo()
    assert read and not is_altered(model / "2") and recorded_content(model / "2") != recorded_content(model / "1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_batch_size: 8\n", "max_batch_size: expected max_batch_size { value: N }"),
        ("max_batch { value: 8 }\n", "max_batch: not a field of BatchingParameters"),
        ("max_batch_size {\n", "expected batching parameters"),
        ("allowed_batch_sizes: 8\n", "the last one be max_batch_size, 1000"),
        (GOOD + "allowed_batch_sizes: 4\n", "2, 8, 4; they must increase"),
        ("allowed_batch_sizes: x\nmax_batch_size { value: 8 }\n", "they must increase"),
    ],
)
def test_what_a_server_would_not_load_is_refused(run, tmp_path, model, text, message):
    path = tmp_path / "batching.config"
    path.write_text(text)
    done = run("bump-version", model, "--batching-params", path)
    assert done.exit_code == 2 and message in done.output
    assert os.listdir(model) == ["1"]
    path.unlink()
    done = run("bump-version", model, "--batching-params", path)
    assert done.exit_code == 2 and "it cannot be read" in done.output


def test_the_server_reads_them_and_the_others_are_named(run, tmp_path, model):
    """A model that batching would break may stay, as long as it has none."""
    broken = publish(tmp_path / "models" / "sparse", 1, signatures=CRNN)
    arguments = ["serving-config", "-o", tmp_path / "out", model, broken, "--batching"]
    assert run(*arguments).exit_code != 0
    done = succeeded(run(*arguments, "--batching-per-model"))
    assert "--enable_batching" in done.output and "--enable_per_model_batching_parameters" in done.output
    assert "crnn 1 has no batching_params.pbtxt" in done.output and "sparse 1 has no" in done.output
    succeeded(run("bump-version", model, "--batching-params", tmp_path / "out" / "batching.config"))
    done = succeeded(run(*arguments, "--batching-per-model"))
    assert "crnn 2 has no" not in done.output and "sparse 1 has no" in done.output
    done = run(*arguments, "--batching-per-model", "--serving", "2.10")
    assert done.exit_code == 2 and "expected 2.11 or later" in " ".join(done.output.split())
    assert "--batching-per-model: only with --batching" in run(*arguments[:-1], "--batching-per-model").output


def test_a_warm_up_request_that_they_do_not_allow(run, tmp_path):
    """A server that reads the parameters would not load the version."""
    base = tmp_path / "m"
    base.mkdir()
    version = write_version(base / "1", lambda x: {"y": tf.reduce_sum(x, 1)})
    write_warm_up(version, [warm_up_request("serving_default", {"x": np.zeros([9, 4], "float32")})], "m")
    path = tmp_path / "batching.config"
    path.write_text(GOOD)
    done = run("bump-version", base, "--batching-params", path)
    assert done.exit_code == 1 and "signature serving_default: 9 items, and max_batch_size of" in done.output
    assert sorted(os.listdir(base)) == ["1"]
    path.write_text("max_batch_size { value: 9 }\n")
    succeeded(run("bump-version", base, "--batching-params", path))
    assert run("verify", base).exit_code == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_batch_size { value: 8", "batching_params.pbtxt: "),
        ("max_batch_size { value: 4 }\n", "signature serving_default: 9 items, and max_batch_size in batching_params"),
    ],
)
def test_verify_reads_the_parameters_of_a_version(run, tmp_path, text, message):
    version = write_version(tmp_path / "1", lambda x: {"y": tf.reduce_sum(x, 1)})
    write_warm_up(version, [warm_up_request("serving_default", {"x": np.zeros([9, 4], "float32")})], "m")
    (version / "batching_params.pbtxt").write_text(text)
    done = run("verify", version)
    assert done.exit_code == 3 and message in " ".join(done.output.split())
    assert "--enable_per_model_batching_parameters does not load the version" in " ".join(done.output.split())
    (version / "batching_params.pbtxt").write_text("max_batch_size { value: 9 }\n")
    assert run("verify", version).exit_code == 0
