"""Steps before and after the network work on a training's own graph and on a user's function as on a built-in one."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from ckpt2saved.graph.tf1 import tf, v1_control_flow
from ckpt2saved.sources.example_pictures import png

SYMBOLS = "abcdé"

TEXT = """
format: 1
graph:
  builder: {builder}
signatures:
  serving_default:
    inputs:
      picture: {{dtype: string, shape: [batch]}}
    preprocess:
      - decode: {{channels: 1}}
      - resize: {{height: 8, width: {width}}}
      - normalise: {{mean: 127.5, scale: 0.0078125}}
      - pad: {{min_width: 4}}
    feed:
      {images}: images
      {lengths}: steps
    postprocess:
      - ctc_decode: {{logits: {logits}, sequence_length: {lengths}, beam_width: 3}}
      - characters: {{file: characters.txt}}
      - failed: {{text: "?", score: -1.0, lengths: 0}}
    outputs:
      text: {{dtype: string, shape: [batch]}}
      score: {{dtype: float32, shape: [batch]}}
      lengths: {{dtype: int32, shape: [batch]}}
      status: {{dtype: int32, shape: [batch]}}
"""

FUNCTION = """
from ckpt2saved.graph.tf1 import tf

def build(variables, options):
    images = tf.placeholder(tf.float32, [None, 8, None, 1], name="images")
    lengths = tf.placeholder(tf.int32, [None], name="lengths")
    kernel = tf.get_variable("kernel", variables["kernel"], use_resource=False)
    x = tf.nn.relu(tf.nn.conv2d(images, kernel, [1, 1, 1, 1], "SAME"))
    x = tf.nn.max_pool(x, [1, 2, 2, 1], [1, 2, 2, 1], "VALID")
    x = tf.transpose(tf.reduce_mean(x, axis=1), [1, 0, 2])
    return {"images": images, "lengths": lengths, "logits": tf.identity(x, name="logits")}
"""


def network():
    """A small CTC network of 6 classes in the default graph."""
    images = tf.placeholder(tf.float32, [None, 8, None, 1], name="images")
    lengths = tf.placeholder(tf.int32, [None], name="lengths")
    kernel = tf.get_variable("kernel", [3, 3, 1, 6], use_resource=False)
    x = tf.nn.relu(tf.nn.conv2d(images, kernel, [1, 1, 1, 1], "SAME"))
    x = tf.nn.max_pool(x, [1, 2, 2, 1], [1, 2, 2, 1], "VALID")
    logits = tf.identity(tf.transpose(tf.reduce_mean(x, axis=1), [1, 0, 2]), name="logits")
    return images, lengths, logits


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A training's checkpoint with its .meta."""
    prefix = tmp_path_factory.mktemp("training") / "model.ckpt"
    with tf.Graph().as_default(), v1_control_flow(), tf.Session() as session:
        tf.set_random_seed(1)
        _, lengths, _ = network()
        tf.add_to_collection("lengths", lengths)
        session.run(tf.global_variables_initializer())
        tf.train.Saver().save(session, str(prefix))
    return prefix


def signature_file(folder, builder, width, **names):
    path = folder / "own.yaml"
    path.write_text(TEXT.format(builder=builder, width=width, **names), encoding="utf-8")
    (folder / "characters.txt").write_text("\n".join(SYMBOLS) + "\n", encoding="utf-8")
    return path


def ask(version, files):
    with tf.Graph().as_default(), tf.Session() as session:
        loaded = tf.saved_model.loader.load(session, ["serve"], str(version))
        definition = loaded.signature_def["serving_default"]
        fetches = {key: info.name for key, info in definition.outputs.items()}
        return session.run(fetches, {definition.inputs["picture"].name: files})


def alone(checkpoint, pixels):
    """The ids of the stock decoder for one picture, float32 [8, width, 1]."""
    with tf.Graph().as_default(), v1_control_flow(), tf.Session() as session:
        images, lengths, logits = network()
        (decoded,), score = tf.nn.ctc_beam_search_decoder(logits, lengths, 3, 1, merge_repeated=False)
        tf.train.Saver().restore(session, str(checkpoint))
        values = [decoded.values, score]
        found, probability = session.run(values, {images: pixels[None], lengths: [pixels.shape[1] // 2]})
        return "".join(SYMBOLS[number] for number in found), probability[0, 0]


def pixels_of(file, width):
    cv2 = pytest.importorskip("cv2")
    picture = cv2.imdecode(np.frombuffer(file, "uint8"), cv2.IMREAD_GRAYSCALE)
    size = (int(picture.shape[1] * 8 / picture.shape[0] + 0.5) if width is None else width, 8)
    return (cv2.resize(picture, size)[..., None].astype("float32") - 127.5) / 128


def test_keys_may_have_any_letters(run, tmp_path, checkpoint):
    """Of an input and an output: TensorFlow allows ASCII alone in the names of nodes."""
    model = signature_file(tmp_path, width="null", **KINDS["meta"])
    text = (
        model.read_text(encoding="utf-8").replace("picture:", "größe:").replace("status: {", "état: {tensor: status, ")
    )
    model.write_text(text, encoding="utf-8")
    result = run("export", "--model", model, "--checkpoint", checkpoint, "--export-dir", tmp_path / "models")
    assert result.exit_code == 0, result.output
    with tf.Graph().as_default(), tf.Session() as session:
        loaded = tf.saved_model.loader.load(session, ["serve"], str(tmp_path / "models" / "1"))
        definition = loaded.signature_def["serving_default"]
        status = session.run(definition.outputs["état"].name, {definition.inputs["größe"].name: [png(30, 8), b""]})
    assert status.tolist() == [0, 1]


KINDS = {
    "meta": {"builder": "meta", "images": "images", "lengths": "lengths:0", "logits": "logits"},
    "function": {"builder": "own_network:build", "images": "images", "lengths": "lengths", "logits": "logits"},
}


@pytest.mark.parametrize("width", ["null", "20"])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_pictures_become_text(run, tmp_path, checkpoint, kind, width):
    """Each line of a batch of several widths has the text that the network gives for it alone."""
    model = signature_file(tmp_path, width=width, **KINDS[kind])
    (tmp_path / "own_network.py").write_text(FUNCTION)
    arguments = ["export", "--model", model, "--checkpoint", checkpoint, "--export-dir", tmp_path / "models"]
    if kind == "function":
        arguments += ["--allow-code", "--python-path", tmp_path]
    result = run(*arguments)
    sys.modules.pop("own_network", None)
    assert result.exit_code == 0, result.output
    files = [png(w, h, w) for w, h in ((30, 8), (7, 9), (64, 16), (3, 40))]
    found = ask(tmp_path / "models" / "1", [*files, b"nothing"])
    fixed = None if width == "null" else int(width)
    for number, file in enumerate(files):
        pixels = pixels_of(file, fixed)
        steps = pixels.shape[1] // 2
        text, score = alone(checkpoint, pixels) if steps else ("?", -1.0)
        assert found["status"][number] == (0 if steps else 5)
        assert found["text"][number].decode("utf-8") == text
        assert found["lengths"][number] == len(text) * (steps > 0)
        assert abs(found["score"][number] - score) < 0.05  # a gray level of rounding
    assert found["status"][4] == 2
    assert (found["text"][4], found["score"][4], found["lengths"][4]) == (b"?", -1.0, 0)
