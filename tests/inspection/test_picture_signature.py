"""inspect --write-signature writes a signature from pictures to text for CTC networks, with its best guess of the steps."""

from __future__ import annotations

import pytest

from ckpt2saved.graph.tf1 import tf, v1_control_flow
from ckpt2saved.signature.file import load_model
from ckpt2saved.signature.steps import DecodePictures, Feed, Resize


@pytest.fixture
def training(tmp_path):
    """A checkpoint of a small CTC network with its loss."""

    def made(height=8, width=None, more=False):
        with tf.Graph().as_default(), v1_control_flow(), tf.Session() as session:
            images = tf.placeholder(tf.float32, [None, height, width, 1], name="pictures")
            lengths = tf.placeholder(tf.int32, [None], name="widths")
            labels = tf.sparse_placeholder(tf.int32, name="labels")
            kernel = tf.get_variable("kernel", [3, 3, 1, 6], use_resource=False)
            x = tf.nn.relu(tf.nn.conv2d(images, kernel, [1, 1, 1, 1], "SAME"))
            x = tf.nn.max_pool(x, [1, 2, 2, 1], [1, 2, 2, 1], "VALID")
            if more:
                x *= tf.placeholder(tf.float32, [], name="factor")
            logits = tf.transpose(tf.reduce_mean(x, axis=1), [1, 0, 2], name="logits")
            loss = tf.reduce_mean(tf.nn.ctc_loss(labels, logits, lengths))
            tf.train.GradientDescentOptimizer(0.1).minimize(loss)
            tf.nn.ctc_beam_search_decoder(logits, lengths, merge_repeated=False)
            session.run(tf.global_variables_initializer())
            tf.train.Saver().save(session, str(tmp_path / "model.ckpt"))
        return tmp_path / "model.ckpt"

    return made


def written(run, checkpoint, folder):
    path = folder / "written.yaml"
    result = run("inspect", checkpoint, "--write-signature", path)
    assert result.exit_code == 0, result.output
    (folder / "characters.txt").write_text("a\nb\nc\nd\ne\n")
    return path


def test_a_ctc_network_gets_a_signature_for_pictures(run, tmp_path, training):
    """It is left out as long as nobody gives the characters, and export publishes it with them."""
    checkpoint = training()
    path = written(run, checkpoint, tmp_path)
    assert [signature.name for signature in load_model(str(path)).signatures] == ["serving_default"]
    charset = f"charset={tmp_path / 'characters.txt'}"
    result = run("export", "-m", path, "-c", checkpoint, "-o", tmp_path / "models", "--option", charset)
    assert result.exit_code == 0, result.output
    steps = load_model(str(path), {"charset": str(tmp_path / "characters.txt")}).signatures[1].steps
    assert steps.preprocess[:2] == (DecodePictures(channels=1), Resize(8))
    assert steps.feed == {"pictures:0": Feed("images"), "widths:0": Feed("steps")}
    assert steps.postprocess[0].logits == "logits:0"
    assert "# as in training: - normalise: {order: bgr, mean: 127.5, scale: 0.0078125}" in path.read_text()


def test_the_size_is_that_of_the_graph(run, tmp_path, training):
    path = written(run, training(height=16, width=40), tmp_path)
    steps = load_model(str(path), {"charset": str(tmp_path / "characters.txt")}).signatures[1].steps
    assert steps.preprocess[1] == Resize(16, width=40)


def test_networks_with_other_inputs_have_none(run, tmp_path, training):
    path = written(run, training(more=True), tmp_path)
    assert "image_bytes" not in path.read_text()
