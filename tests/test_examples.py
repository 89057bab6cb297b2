"""The examples do what their README says: a trained CRNN that reads lines which it has never seen."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ckpt2saved.tf1 import tf

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
CHECKPOINT = EXAMPLES / "crnn" / "checkpoint"
CHARSET = EXAMPLES / "crnn" / "charset.txt"


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


def python(*arguments):
    command = [sys.executable] + [str(argument) for argument in arguments]
    return subprocess.run(
        command,
        env=dict(os.environ, CUDA_VISIBLE_DEVICES="-1", PYTHONIOENCODING="utf-8"),
        capture_output=True,
        encoding="utf-8",
    )


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


def test_the_ctpn_example_is_written_and_exported(run, tmp_path):
    """make_checkpoint.py trains a small CTPN for a few steps; its averages are what is served."""
    done = python(EXAMPLES / "ctpn" / "make_checkpoint.py", tmp_path / "training")
    assert done.returncode == 0, done.stderr
    result = run("export", "-m", "ctpn", "-c", tmp_path / "training", "-o", tmp_path / "m")
    assert result.exit_code == 0, result.output
    assert "moving averages (the checkpoint holds moving averages of all trained variables)" in result.output
    image = np.zeros((1, 64, 80, 3), "float32")
    inputs = {"input_image": image, "input_im_info": [[64, 80, 1]]}
    (found,) = answers(tmp_path / "m" / "1", "serving_default", inputs)
    assert found["output_bbox_pred"].shape[:3] == (1, 4, 5)
