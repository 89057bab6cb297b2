"""A frozen GraphDef is published as it is: its weights are constants, and no checkpoint is needed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ckpt2saved.graph.tf1 import tf
from tests.support.saved_models import asked

HIDDEN = np.random.RandomState(2).randn(4, 4).astype("float32")
WEIGHTS = np.random.RandomState(3).randn(4, 3).astype("float32")


@pytest.fixture
def frozen(tmp_path):
    """A classifier with dropout, as a training's graph was frozen."""
    with tf.Graph().as_default() as graph:
        image = tf.placeholder(tf.float32, [None, 4], name="image")
        hidden = tf.nn.relu(tf.matmul(image, tf.constant(HIDDEN)))
        tf.nn.softmax(tf.matmul(tf.nn.dropout(hidden, rate=0.5), tf.constant(WEIGHTS)), name="scores")
    path = tmp_path / "frozen.pb"
    path.write_bytes(graph.as_graph_def().SerializeToString())
    return path


def scores(image):
    logits = np.exp(np.maximum(image @ HIDDEN, 0) @ WEIGHTS)
    return logits / logits.sum(axis=1, keepdims=True)


def test_a_frozen_graph_is_published(run, tmp_path, frozen):
    """With the proof, the warm-up and the provenance of every other source, and dropout bypassed."""
    options = ["--graph", frozen, "--input", "image", "--output", "scores"]
    result = run("export", *options, "-o", tmp_path / "m")
    assert result.exit_code == 0, result.output
    assert "answers match the graph file" in result.output and "warm-up     " in result.output
    assert f"graph file  {frozen} (" in result.output and "checkpoint" not in result.output
    version = tmp_path / "m" / "1"
    image = np.random.RandomState(1).rand(5, 4).astype("float32")
    np.testing.assert_allclose(asked(version, image=image)["scores"], scores(image), rtol=1e-5)
    provenance = json.loads((version / "assets.extra/ckpt2saved.json").read_text())
    assert provenance["graph"] == {"builder": "frozen", "options": {}}
    assert provenance["checkpoint"]["format"] == "GraphDef" and provenance["checkpoint"]["name"] == "frozen.pb"
    assert list(provenance["checkpoint"]["sha256"]) == ["frozen.pb"]
    assert not (version / "variables").exists()
    result = run("verify", tmp_path / "m", *options)
    assert result.exit_code == 0 and "1 answer matches the graph file" in result.output, result.output


def test_inspect_names_the_ends_and_the_command(run, frozen):
    """Which does not mention a checkpoint."""
    result = run("inspect", frozen)
    assert result.exit_code == 0, result.output
    assert "image:0" in result.output and "scores:0" in result.output
    assert f"ckpt2saved export --graph {frozen}" in result.output and "--checkpoint" not in result.output


@pytest.mark.parametrize(
    "arguments, text",
    [
        (["--checkpoint", "x"], "which contains its weights"),
        (["--map", "a=b"], "a frozen graph has no variables"),
    ],
)
def test_what_a_frozen_graph_does_not_take(run, tmp_path, frozen, arguments, text):
    """Options about a checkpoint, which there is none of."""
    result = run(
        "export", "--graph", frozen, "--input", "image", "--output", "scores", "-o", tmp_path / "m", *arguments
    )
    assert result.exit_code == 2 and text in result.output, result.output
