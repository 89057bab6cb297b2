"""Export says how far the answer for a picture depends on the other pictures of a batch."""

from __future__ import annotations

import json
import sys

import pytest

from tests.support.checkpoints import write_checkpoint
from tests.support.golden_rule import fill

SIGNATURE = """
format: 1
graph:
  builder: own_lines:build
signatures:
  serving_default:
    inputs:
      picture: {dtype: string, shape: [batch]}
    preprocess:
      - decode: {channels: 1}
      - resize: {height: 8, width: null}
      - normalise: {mean: 127.5, scale: 0.0078125}
    feed:
      images: images
      lengths: steps
    postprocess:
      - ctc_decode: {logits: logits, sequence_length: lengths, beam_width: 1}
    outputs:
      ids: {dtype: int64, shape: [batch, time]}
      score: {dtype: float32, shape: [batch]}
"""

FUNCTION = """
from ckpt2saved.graph.tf1 import tf

def build(variables, options):
    images = tf.placeholder(tf.float32, [None, 8, None, 1], name="images")
    lengths = tf.placeholder(tf.int32, [None], name="lengths")
    kernel = tf.get_variable("kernel", variables["kernel"], use_resource=False)
    x = tf.nn.bias_add(tf.nn.conv2d(images, kernel, [1, 1, 1, 1], "SAME"), tf.ones([6]))
    x = tf.nn.conv2d(x, tf.reshape(tf.range(324.0), [3, 3, 6, 6]) / 300, [1, 1, 1, 1], "SAME")
    x = BODY
    x = tf.transpose(tf.reduce_mean(x, axis=1), [1, 0, 2])
    return {"images": images, "lengths": lengths, "logits": tf.identity(x, name="logits")}
"""


@pytest.fixture
def export(run, tmp_path):
    def exported(body):
        write_checkpoint(tmp_path / "model.ckpt", {"kernel": fill("kernel", (3, 3, 1, 6))})
        (tmp_path / "own.yaml").write_text(SIGNATURE)
        (tmp_path / "own_lines.py").write_text(FUNCTION.replace("BODY", body))
        arguments = ["export", "--model", tmp_path / "own.yaml", "--checkpoint", tmp_path / "model.ckpt"]
        arguments += ["--export-dir", tmp_path / "models", "--allow-code", "--python-path", tmp_path]
        result = run(*arguments)
        sys.modules.pop("own_lines", None)
        assert result.exit_code == 0, result.output
        written = (tmp_path / "models" / "1" / "assets.extra" / "ckpt2saved.json").read_text()
        return result.output, json.loads(written)["lines"]

    return exported


def test_what_is_proven_is_measured(export):
    output, lines = export("tf.nn.relu(x)")
    assert "lines       each alone and in a batch of several widths: largest difference" in output
    assert "in a batch of several widths has another answer" not in output
    assert lines["not_proven"] == []
    assert lines["max_abs_difference"]["serving_default"]["score"] < 1e-3
    assert lines["max_abs_difference"]["serving_default"]["ids"] == 0


def test_what_is_not_proven_is_a_note(export):
    """The node, the reason, and by how much the answers differ."""
    output, lines = export('x - tf.reduce_mean(x, axis=2, keepdims=True, name="over_the_width")')
    text = "serving_default: over_the_width (Mean): it reduces the columns of a padded batch"
    assert f"note        {text}" in output
    assert "score: a line in a batch of several widths has another answer than alone: values differ by up to" in output
    assert lines["not_proven"] == [text]
    assert lines["max_abs_difference"]["serving_default"]["score"] > 1e-3
