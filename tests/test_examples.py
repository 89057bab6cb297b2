"""The examples do what their README says: a trained CRNN that reads, and a trained CTPN that finds, lines never seen."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from ckpt2saved.client.detection import proposals, text_lines
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.signature.detection import Anchors, LineRules

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
CHECKPOINT = EXAMPLES / "crnn" / "checkpoint"
CHARSET = EXAMPLES / "crnn" / "charset.txt"
DETECTOR = EXAMPLES / "ctpn" / "checkpoint"
ANCHORS = Anchors((11, 16, 23, 33, 48, 68))


def labelled(name):
    """Paths and texts of a labels file of the example."""
    lines = (EXAMPLES / "crnn" / name).read_text(encoding="utf-8").splitlines()
    return tuple(zip(*((EXAMPLES / "crnn" / path, text) for path, text in (line.split("\t") for line in lines))))


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    """The trained CRNN, exported with its character file from the directory that training wrote to."""
    from click.testing import CliRunner

    from ckpt2saved.cli import main

    base = tmp_path_factory.mktemp("models")
    arguments = ["export", "-q", "-m", "crnn", "-c", CHECKPOINT, "-o", base, "--option", f"charset={CHARSET}"]
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return Path(result.output.strip())


def answers(version, signature, *requests):
    """What a signature answers to each request, by output key."""
    with tf.Graph().as_default(), tf.Session() as session:
        definition = tf.saved_model.loader.load(session, ["serve"], str(version)).signature_def[signature]
        fetches = {key: info.name for key, info in definition.outputs.items()}
        feeds = [{definition.inputs[key].name: value for key, value in inputs.items()} for inputs in requests]
        return [session.run(fetches, feed) for feed in feeds]


def test_the_exported_crnn_reads_unseen_lines(version):
    """At least 95 of 100 characters of lines that training left out, all in one batch."""
    distance = pytest.importorskip("rapidfuzz.distance").Levenshtein.distance
    pictures, texts = labelled("unseen.tsv")
    (found,) = answers(version, "text", {"image_bytes": [picture.read_bytes() for picture in pictures]})
    read = [text.decode("utf-8") for text in found["text"]]
    assert len(texts) == 150 and not found["status"].any()
    assert sum(map(distance, texts, read)) <= 0.05 * sum(map(len, texts))


def test_a_line_is_read_alike_alone_and_in_a_batch(version):
    pictures, _ = labelled("unseen.tsv")
    contents = [picture.read_bytes() for picture in pictures[:24]]
    requests = [{"image_bytes": some} for some in [contents] + [[content] for content in contents]]
    together, *alone = answers(version, "text", *requests)
    assert list(together["text"]) == [one["text"][0] for one in alone]
    np.testing.assert_allclose(together["score"], [one["score"][0] for one in alone], rtol=1e-4, atol=1e-4)


def test_predict_prints_what_the_pictures_say(run, version):
    """The eight sample pictures are PNG and JPEG, gray and in colour, of several heights."""
    pictures, texts = labelled("lines.tsv")
    result = run("predict", "--quiet", version, *pictures)
    assert (result.exit_code, result.output.splitlines()) == (0, [f"{p}\t{text}" for p, text in zip(pictures, texts)])
    assert len(texts) == 8


def test_the_character_file_names_each_class_once(version):
    """A symbol a line, the space among them; the class after the last is the blank."""
    symbols = CHARSET.read_text(encoding="utf-8").split("\n")
    assert symbols.pop() == ""
    assert len(set(symbols)) == len(symbols) and all(len(symbol) == 1 for symbol in symbols)
    for name in ("lines.tsv", "unseen.tsv"):
        assert set("".join(labelled(name)[1])) <= set(symbols)
    shapes = tf.train.NewCheckpointReader(tf.train.latest_checkpoint(str(CHECKPOINT))).get_variable_to_shape_map()
    assert shapes["shadow/LSTMLayers/w"][1] == len(symbols) + 1


def test_the_checkpoint_is_one_of_a_real_training_and_small(version):
    """Written by tf.train.Saver with Adam's slots, global_step and the training graph; under 4 MB."""
    held = tf.train.NewCheckpointReader(tf.train.latest_checkpoint(str(CHECKPOINT))).get_variable_to_shape_map()
    assert "global_step" in held and "shadow/conv1/W/Adam" in held and "shadow/conv1/W/Adam_1" in held
    assert list(CHECKPOINT.glob("*.meta"))
    assert sum(file.stat().st_size for file in CHECKPOINT.iterdir()) < 4e6
    written = tf.train.NewCheckpointReader(str(version / "variables" / "variables")).get_variable_to_shape_map()
    assert len(written) == 24 and not [name for name in written if "Adam" in name or "step" in name]


def test_a_moved_state_file_still_leads_to_its_checkpoint(run, tmp_path):
    """The directory of a training elsewhere, whose state file records a path that is gone."""
    for file in CHECKPOINT.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (prefix,) = [file.stem for file in CHECKPOINT.glob("*.index")]
    (tmp_path / "checkpoint").write_text(f'model_checkpoint_path: "/gone/runs/{prefix}"\n')
    result = run("export", "-q", "-m", "crnn", "-c", tmp_path, "-o", tmp_path / "m", "--no-parity")
    assert (result.exit_code, result.output) == (0, f"{tmp_path / 'm' / '1'}\n")


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    """The trained CTPN, exported, and what export said."""
    from click.testing import CliRunner

    from ckpt2saved.cli import main

    base = tmp_path_factory.mktemp("models")
    result = CliRunner().invoke(main, ["export", "-m", "ctpn", "-c", str(DETECTOR), "-o", str(base)])
    assert result.exit_code == 0, result.output
    return base / "1", result.output


def test_the_averages_of_the_ctpn_are_served(detector):
    """Of a real training, small, whose .meta every TensorFlow reads."""
    version, said = detector
    assert "moving averages (the checkpoint holds moving averages of all trained variables)" in said
    shapes = tf.train.NewCheckpointReader(str(version / "variables" / "variables")).get_variable_to_shape_map()
    assert len(shapes) == 38 and shapes["bbox_pred/weights"] == [64, 4 * len(ANCHORS.heights)]
    assert list(DETECTOR.glob("*.meta"))
    assert sum(file.stat().st_size for file in DETECTOR.iterdir()) < 3e6


def test_the_exported_ctpn_finds_the_lines_of_the_sample_pages(detector):
    """At least 90 of 100 lines, and at least 90 of 100 of what it finds; nothing on the blank page."""
    cv2 = pytest.importorskip("cv2")
    true = found = right = 0
    for page in json.loads((EXAMPLES / "ctpn" / "pages.json").read_text(encoding="utf-8")):
        picture = cv2.imread(str(EXAMPLES / "ctpn" / page["picture"]))[:, :, ::-1].astype("float32")
        im_info = np.array([[picture.shape[0], picture.shape[1], 1]], "float32")
        (answer,) = answers(detector[0], "serving_default", {"input_image": [picture], "input_im_info": im_info})
        (boxes,) = proposals(answer["output_cls_prob"], answer["output_bbox_pred"], im_info, ANCHORS)
        quads = text_lines(boxes, picture.shape[:2], LineRules(is_slanted=True)).quads.reshape(-1, 4, 2)
        expected = np.array([line["quad"] for line in page["lines"]], "float32").reshape(-1, 4, 2)
        overlaps = np.array([[overlap(cv2, one, other) for other in quads] for one in expected])
        true, found = true + len(expected), found + len(quads)
        right += int((overlaps > 0.5).any(axis=1).sum()) if len(quads) and len(expected) else 0
        assert len(expected) or not len(quads), page["picture"]
    assert true > 100 and right >= 0.9 * true and right >= 0.9 * found


def test_page_finds_and_reads_the_lines_of_the_sample_pages(run, tmp_path):
    """At least 90 of 100 lines and 95 of 100 characters, by the two checkpoints in one SavedModel."""
    pytest.importorskip("rapidfuzz")
    networks = ["-c", f"detector={DETECTOR}", "-c", f"recogniser={CHECKPOINT}", "--option", f"charset={CHARSET}"]
    result = run("export", "-q", "-m", "ocr", *networks, "-o", tmp_path / "ocr", "--no-parity", "--no-warmup")
    assert result.exit_code == 0, result.output
    result = run("evaluate", "-q", tmp_path / "ocr", "--pages", EXAMPLES / "ctpn" / "pages.json", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.output)
    assert (found["pages"], found["unread"], found["results"][-1]["answered"]) == (5, 0, 0)  # the last one is blank
    assert found["recall"] >= 0.9 and found["precision"] >= 0.9 and found["cer"] <= 0.05
    assert found["right_characters"] >= 0.95 * found["characters"] > 1000


def overlap(cv2, one, other):
    """Intersection over union of two quads."""
    common, _ = cv2.intersectConvexConvex(one, other)
    return common / (cv2.contourArea(one) + cv2.contourArea(other) - common)


def test_what_the_ctpn_is_taught_leads_to_the_true_lines():
    """The procedure finds the lines again in answers that are exactly the targets of the training."""
    targets = module(EXAMPLES / "ctpn" / "anchors.py")
    assert ANCHORS.heights == targets.HEIGHTS
    assert [(top, bottom) for _, top, _, bottom in ANCHORS.corners] == list(targets.ROWS)
    height, width = 160, 256
    lines = np.array(
        [
            [[32, 20], [160, 20], [160, 40], [32, 40]],
            [[48, 70], [240, 86.8], [237.4, 116.7], [45.4, 99.9]],  # rotated by 5 degrees
            [[16, 120], [96, 120], [96, 137], [16, 137]],
        ],
        "float32",
    )
    taught = targets.anchor_targets(lines, height, width)
    rows, columns, anchors = height // 16, width // 16, len(targets.HEIGHTS)
    is_text = (taught.kinds == targets.TEXT).astype("float32")
    cls_prob = np.stack([1 - is_text, is_text], axis=-1)[None]
    deltas = np.zeros((1, rows, columns, anchors, 4), "float32")
    deltas[..., 1::2] = taught.offsets.reshape(rows, columns, anchors, 2)
    deltas = deltas.reshape(1, rows, columns, 4 * anchors)
    (boxes,) = proposals(cls_prob, deltas, [[height, width, 1]], ANCHORS)
    found = text_lines(boxes, (height, width), LineRules(is_slanted=True)).quads.reshape(-1, 4, 2)
    assert len(found) == 3
    for line in lines:
        nearest = found[np.abs(found.mean(1) - line.mean(0)).sum(1).argmin()]
        np.testing.assert_allclose(nearest[:, 1], line[:, 1], atol=2.5)  # a slanted line is 2.5 pixels higher
        np.testing.assert_allclose(nearest[:, 0], line[:, 0], atol=16)  # a cell is 16 pixels


def module(path):
    """The module in a file of the examples."""
    specification = importlib.util.spec_from_file_location(path.stem, str(path))
    made = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(made)
    return made
