"""The gate with the example CRNN: the same checkpoint passes, one with noise in its kernels does not."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest

from ckpt2saved.checkpoint.files import find_checkpoint
from ckpt2saved.graph.tf1 import tf
from tests.support.checkpoints import write_checkpoint
from tests.support.command_line import ROOT

EXAMPLE = ROOT / "examples" / "crnn"


@pytest.fixture
def noisy(tmp_path):
    """The example's checkpoint with noise in its convolution kernels, as large as half of their values."""
    reader = tf.train.load_checkpoint(str(find_checkpoint(EXAMPLE / "checkpoint").prefix))
    random = np.random.RandomState(0)
    values = {name: np.asarray(reader.get_tensor(name)) for name in reader.get_variable_to_shape_map()}
    for name, value in values.items():
        if value.ndim == 4:
            values[name] = (value + random.standard_normal(value.shape) * value.std() / 2).astype(value.dtype)
    return write_checkpoint(tmp_path / "noisy.ckpt-1", values)


def test_a_worse_checkpoint_is_stopped(run_apart, tmp_path, noisy):
    """Labels are what the first version reads, so that it has no errors, whatever the example has learnt."""
    base, lines = tmp_path / "crnn", tmp_path / "lines"
    lines.mkdir()

    def export(checkpoint, *arguments):
        more = ["--option", f"charset={EXAMPLE / 'charset.txt'}", "--no-parity", "--no-warmup", "--json"]
        return run_apart("export", "--model", "crnn", "-c", checkpoint, "-o", base, *more, *arguments)

    assert export(EXAMPLE / "checkpoint").exit_code == 0
    pictures = sorted((EXAMPLE / "images").glob("*.png"))
    for number, path in enumerate(pictures):
        shutil.copy(str(path), str(lines / f"{number}.png"))
    names = [str(lines / f"{number}.png") for number in range(len(pictures))]
    read = json.loads(run_apart("predict", base, *names, "--json").stdout)["results"]
    texts = [one["outputs"]["text"] for one in read]
    assert all(texts)
    rows = [f"{number}.png\t{text}\n" for number, text in enumerate(texts)]
    (lines / "labels.tsv").write_text("".join(rows), encoding="utf-8")

    gate = ["--lines", lines / "labels.tsv", "--max-cer", "0.01", "--not-worse-than", "newest"]
    result = export(noisy, *gate)
    assert result.exit_code == 3, result.stderr
    found = json.loads(result.stdout)
    assert {one["code"] for one in found["problem_details"]} >= {"cer-over-limit", "cer-worse", "misread-line"}
    assert found["path"] is None and found["accuracy"]["cer"] > 0.01 and found["accuracy"]["baseline"]["cer"] == 0
    assert sorted(os.listdir(str(base)))[-1:] == ["1"] and not list(base.glob(".staging*"))
    result = export(EXAMPLE / "checkpoint", *gate)
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["accuracy"]["edits"] == 0
