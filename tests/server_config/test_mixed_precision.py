"""serving-config --mixed-precision: only with the proof that the text is read as well."""

from __future__ import annotations

import json
import re

import pytest

from tests.support.published_models import FIXED_LINES, publish, succeeded

SCORES = {"score": ("float32", [-1])}
BASELINE = {"name": "models/crnn/3", "tolerance": 0.0, "cer": 0.02}
PROOF = {"format": 1, "cer": 0.019, "is_good_enough": True, "baseline": BASELINE}


@pytest.fixture
def configure(run, tmp_path):
    model = publish(tmp_path / "models" / "crnn", 1, signatures={"serving_default": (FIXED_LINES, SCORES)})

    def call(*arguments, proof=None):
        more = []
        if proof is not None:
            (tmp_path / "accuracy.json").write_text(proof if isinstance(proof, str) else json.dumps(proof))
            more = ["--accuracy", tmp_path / "accuracy.json"]
        return run("serving-config", model, "-o", tmp_path / "out", *arguments, *more)

    return call


def test_with_the_proof_it_is_written_and_onednn_is_on(configure):
    done = succeeded(configure("--mixed-precision", "bfloat16", "--batching", "--equal-shapes", proof=PROOF))
    assert "--mixed_precision=bfloat16" in done.output and "TF_ENABLE_ONEDNN_OPTS=1" in done.output
    assert "character error rate 0.019 with it, 0.02 of models/crnn/3" in " ".join(done.output.split())


def test_without_it_the_steps_are_said(configure, tmp_path):
    done = configure("--mixed-precision", "bfloat16")
    text = " ".join(done.output.split())
    assert done.exit_code == 2 and not (tmp_path / "out").exists()
    trial = re.search("for a trial: (docker run .*?); then", text).group(1)
    assert "--env TF_ENABLE_ONEDNN_OPTS=1" in trial and trial.endswith("--mixed_precision=bfloat16")
    assert "--publish 8511:8501" in trial and "MODEL_NAME=crnn" in trial and "--not-worse-than" in text


@pytest.mark.parametrize(
    ("proof", "message"),
    [
        (dict(PROOF, is_good_enough=False), "the text is read worse"),
        (dict(PROOF, is_good_enough=None), "the text is read worse"),
        (dict(PROOF, baseline=None), "measured without --not-worse-than"),
        ({"format": 1}, "not what ckpt2saved evaluate --json prints"),
        ([], "not what ckpt2saved evaluate --json prints"),
        ("{", "it is no JSON"),
    ],
)
def test_what_proves_nothing(configure, proof, message):
    done = configure("--mixed-precision", "bfloat16", proof=proof)
    assert done.exit_code == 2 and message in " ".join(done.output.split())


def test_releases_and_options_that_do_not_go_with_it(configure):
    assert (
        "expected 2.15 or later" in configure("--mixed-precision", "bfloat16", "--serving", "2.14", proof=PROOF).output
    )
    assert "leave --onednn off out" in configure("--mixed-precision", "bfloat16", "--onednn", "off", proof=PROOF).output
    assert "--accuracy: only with --mixed-precision" in configure(proof=PROOF).output
