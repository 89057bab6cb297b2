"""A version written by one TensorFlow is loaded, and answers the same, in another: the server is not ours to choose.

CKPT2SAVED_TEST_OTHER_PYTHONS names the other TensorFlows: Pythons, separated by ':', that have one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
OTHERS = [python for python in os.environ.get("CKPT2SAVED_TEST_OTHER_PYTHONS", "").split(os.pathsep) if python]

# What a process does with the TensorFlow that it has: export, or answer through the loader that TF Serving uses.
ANSWER = """
import sys
from pathlib import Path
import numpy as np
from ckpt2saved.answers import cc_loader
from ckpt2saved.requests.parity import parity_requests
from ckpt2saved.saved_model.reading import read_signatures
from ckpt2saved.signature.file import load_model

directory, model, out = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
answers = {}
with cc_loader.loaded(cc_loader.find_library(), directory) as loaded:
    for question in parity_requests(load_model(model), load_model(model).parity):
        feeds, fetches = question.feeds_and_fetches(read_signatures(directory))
        for key, value in zip(fetches, loaded.run(list(fetches.values()), feeds)):
            answers["{}.{}.{}".format(question.name, question.signature, key)] = value
np.savez(out, **answers)
"""


def start(python, *arguments):
    environment = dict(os.environ, PYTHONPATH=str(ROOT), CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="2")
    done = subprocess.run(
        [python] + list(arguments),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout.splitlines()[-1] if done.stdout else ""


def answers(python, directory, model, folder):
    out = str(folder / "answers.npz")
    start(python, "-c", ANSWER, str(directory), model, out)
    with np.load(out) as file:
        return {name: file[name] for name in file.files}


@pytest.mark.skipif(not OTHERS, reason="CKPT2SAVED_TEST_OTHER_PYTHONS names no Python with another TensorFlow")
@pytest.mark.parametrize("model", ["crnn", "ctpn"])
@pytest.mark.parametrize("direction", ["written here, read there", "written there, read here"])
@pytest.mark.parametrize("other", OTHERS or ["none"])
def test_the_other_tensorflow_reads_it_and_answers_the_same(
    tmp_path, crnn_checkpoint, ctpn_checkpoint, other, model, direction
):
    """Both ways: a 1.14 server for what is exported today, and today's for what was exported with 1.14."""
    writer, reader = (sys.executable, other) if direction.startswith("written here") else (other, sys.executable)
    checkpoint = {"crnn": crnn_checkpoint, "ctpn": ctpn_checkpoint}[model]
    export = ["-m", "ckpt2saved", "export", "-q", "-m", model, "-c", str(checkpoint), "-o", str(tmp_path)]
    version = Path(start(writer, *export))
    at_home, abroad = answers(writer, version, model, tmp_path), answers(reader, version, model, tmp_path)
    assert sorted(at_home) == sorted(abroad) and at_home
    for name, value in at_home.items():
        assert abroad[name].dtype == value.dtype and abroad[name].shape == value.shape
        np.testing.assert_allclose(abroad[name], value, rtol=1e-3, atol=1e-3, err_msg=name)
