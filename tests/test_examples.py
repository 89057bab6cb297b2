"""The examples do what their README says: a trained CRNN that reads words which it has never seen."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ckpt2saved.tf1 import tf
from tests.support.command_line import without_chatter

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
CHECKPOINT = EXAMPLES / "crnn" / "checkpoint"


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    """The trained CRNN, exported from the directory that training wrote to."""
    from click.testing import CliRunner

    from ckpt2saved.cli import main

    base = tmp_path_factory.mktemp("models")
    arguments = ["export", "-q", "-m", "crnn", "-c", str(CHECKPOINT), "-o", str(base)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return Path(result.output.strip())


def answers(version, signature, inputs):
    """What a signature answers, by output key."""
    with tf.Graph().as_default(), tf.Session() as session:
        definition = tf.saved_model.loader.load(session, ["serve"], str(version)).signature_def[signature]
        fetches = {key: info.name for key, info in definition.outputs.items()}
        return session.run(fetches, {definition.inputs[key].name: value for key, value in inputs.items()})


def python(*arguments):
    command = [sys.executable] + [str(argument) for argument in arguments]
    return subprocess.run(
        command,
        env=dict(os.environ, CUDA_VISIBLE_DEVICES="-1"),
        capture_output=True,
        text=True,
    )


def test_the_exported_crnn_reads_unseen_words(version):
    """At least 95 of 100 rendered words that training left out, letter by letter, by both signatures."""
    with np.load(str(EXAMPLES / "crnn" / "unseen.npz")) as file:
        images, widths, texts = file["images"], file["widths"], file["texts"]
    charset = (EXAMPLES / "crnn" / "charset.txt").read_text(encoding="utf-8").splitlines()
    inputs = {"input_data": images.astype("float32"), "input_batch_size": widths // 4}
    sparse, dense = answers(version, "serving_default", inputs), answers(version, "dense", inputs)
    rows = sparse["output_indices"][:, 0]
    read = ["".join(charset[value] for value in sparse["output_values"][rows == row]) for row in range(len(texts))]
    assert len(texts) == 100
    assert sum(ours == text for ours, text in zip(read, texts)) >= 95
    assert read == ["".join(charset[value] for value in ids[ids >= 0]) for ids in dense["ids"]]
    assert list(dense["lengths"]) == [len(text) for text in read]


def test_read_images_prints_what_the_pictures_say(version):
    """The eight sample pictures are named as they read; nothing else is printed."""
    pictures = sorted((EXAMPLES / "crnn" / "images").glob("*.png"))
    done = python(EXAMPLES / "crnn" / "read_images.py", version, *pictures)
    assert (done.returncode, without_chatter(done.stderr)) == (0, "")
    assert done.stdout.splitlines() == [f"{picture.name}: {picture.stem}" for picture in pictures]
    assert len(pictures) == 8


def test_the_checkpoint_is_one_of_a_real_training_and_small(version):
    """Written by tf.train.Saver with Adam's slots, global_step and the training graph; under 3 MB."""
    held = tf.train.NewCheckpointReader(tf.train.latest_checkpoint(str(CHECKPOINT))).get_variable_to_shape_map()
    assert "global_step" in held and "shadow/conv1/W/Adam" in held and "shadow/conv1/W/Adam_1" in held
    assert list(CHECKPOINT.glob("*.meta"))
    assert sum(file.stat().st_size for file in CHECKPOINT.iterdir()) < 3e6
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
    found = answers(tmp_path / "m" / "1", "serving_default", inputs)
    assert found["output_bbox_pred"].shape[:3] == (1, 4, 5)
