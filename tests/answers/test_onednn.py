"""Answers with oneDNN on, in a process of its own, and what a request of the wrong rank does to it."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from ckpt2saved.answers import onednn
from ckpt2saved.answers.file_answers import run_on_files
from ckpt2saved.answers.onednn import compare_with_onednn
from ckpt2saved.graph.devices import gpus
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.requests.request import Request
from tests.support import letters
from tests.support.saved_models import write_version

HAS_ONEDNN = onednn.has_onednn()
needs_onednn = pytest.mark.skipif(not HAS_ONEDNN, reason="this TensorFlow has no oneDNN")


def convolved(x):
    kernel = tf.constant(np.linspace(-1, 1, 3 * 3 * 3 * 4).reshape(3, 3, 3, 4), tf.float32)
    return {"y": tf.nn.conv2d(x, kernel, [1, 1, 1, 1], "SAME")}


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    """A version whose one op is a convolution."""
    return write_version(tmp_path_factory.mktemp("convolved") / "1", convolved, shape=(None, 8, None, 3))


@pytest.fixture(scope="module")
def request_and_answer(version):
    values = np.random.RandomState(1).rand(2, 8, 20, 3).astype("float32")
    found = run_on_files(version, [Request("r", "serving_default", {"x": values})], vary=False)
    return found.requests, found.answers


@pytest.mark.skipif(HAS_ONEDNN, reason="this TensorFlow has it")
def test_a_tensorflow_without_it_says_so(version, request_and_answer):
    assert "no oneDNN" in compare_with_onednn(version, *request_and_answer).skipped


@needs_onednn
def test_differences_and_a_request_of_the_wrong_rank(version, request_and_answer):
    """The process that a convolution ends is noticed, in seconds, and what a server would do is said."""
    start = time.monotonic()
    found = compare_with_onednn(version, *request_and_answer)
    if found.skipped:
        pytest.skip(found.skipped)
    assert time.monotonic() - start < 60
    assert found.answers == 1 and found.comparison.max_abs < 1e-4
    assert list(found.comparison.by_signature()) == ["serving_default"]
    assert found.ended == ("r of the wrong rank: signature serving_default",)
    (note,) = found.notes
    assert note.code == "onednn-ends-server" and "x [8, 20, 3]" in note.text
    assert "ends with it, and with all the models that it serves" in note.text


@needs_onednn
def test_answers_of_a_gpu_are_not_compared(version, request_and_answer):
    """What differs would be the GPU's doing."""
    with gpus(True):
        assert "answers are those of a GPU" in compare_with_onednn(version, *request_and_answer).skipped


class Process:
    """A process that answers each request with the next of these answers, or raises it."""

    has_ended = False

    def __init__(self, *answers):
        self._answers = list(answers)
        self.asked = []

    def answers(self, request):
        self.asked.append(request)
        found = self._answers.pop(0)
        if isinstance(found, Exception):
            self.has_ended = "ended" in str(found)
            raise found
        return found


def vector(*values):
    return {"y": np.array(values, "float32")}


def asked(process, *answers):
    """What is found where the process is asked as often, and expected to answer so; then with the wrong rank."""
    requests = [Request(f"r{number}", f"s{number}", {"x": np.zeros([1, 2, 3])}) for number in range(len(answers))]
    found = onednn._Found(process)
    found.ask(requests, answers)
    found.ask_wrongly(requests)
    return found.result()


def test_rounding_is_no_note_and_more_is_one():
    answers = [vector(1.0001, 2), vector(1.1, 2), vector(0), vector(0)]
    found = asked(Process(*answers), vector(1, 2), vector(1, 2))
    assert found.comparison.by_signature() == {
        "s0": {"y": pytest.approx(1e-4, rel=1e-2)},
        "s1": {"y": pytest.approx(0.1)},
    }
    assert [(note.code, note.where) for note in found.notes] == [("onednn-differs", "r1: s1.y")]
    assert found.ended == ()


def test_nothing_is_sent_to_a_process_that_has_ended():
    process = Process(onednn.NotServable("it has ended"))
    found = asked(process, vector(1), vector(1))
    assert len(process.asked) == 1 and found.ended == ("r0: signature s0",) and found.answers == 0
    assert "this request ends the process" in found.notes[0].text


def test_a_refused_request_is_a_note_and_a_refused_rank_is_none():
    process = Process(
        onednn.NotServable("no kernel"), vector(1), onednn.NotServable("rank"), onednn.NotServable("rank")
    )
    found = asked(process, vector(1), vector(1))
    assert [request.name for request in process.asked[2:]] == ["r1 of the wrong rank", "r0 of the wrong rank"]
    assert [note.text for note in found.notes] == [
        f"r0: signature s0: with oneDNN on it fails: no kernel; {onednn._OFF}"
    ]
    assert found.ended == () and found.answers == 1


@needs_onednn
def test_verify_reports_it(run, version, monkeypatch):
    """By default, as a note: a server with TF_ENABLE_ONEDNN_OPTS=0 is right."""
    monkeypatch.delenv("CKPT2SAVED_WITH_ONEDNN")
    done = run("verify", version, "--json")
    assert done.exit_code == 0, done.output
    content = json.loads(done.stdout)["onednn"]
    if content["skipped"]:
        pytest.skip(content["skipped"])
    assert content["answers"] >= 1 and content["ended"] and content["max_abs_difference"]["serving_default"]["y"] < 1e-3
    assert "oneDNN" in done.output and "largest difference" in done.output
    assert json.loads(run("verify", version, "--json", "--without-onednn").stdout)["onednn"] is None


@needs_onednn
def test_an_export_records_it_on_demand(run, tmp_path):
    """Of a network that has no convolution: nothing differs, and nothing ends."""
    (tmp_path / "letters.py").write_text(letters.GRAPH)
    (tmp_path / "letters.yaml").write_text(letters.SIGNATURES)
    with tf.Graph().as_default(), tf.Session() as session:
        tf.get_variable("weights", initializer=np.eye(4, dtype="float32"))
        session.run(tf.global_variables_initializer())
        checkpoint = tf.train.Saver().save(session, str(tmp_path / "run" / "model.ckpt"), 1)
    command = ["export", "-m", tmp_path / "letters.yaml", "-c", checkpoint, "--python-path", tmp_path, "--allow-code"]
    done = run(*command, "-o", tmp_path / "m", "--with-onednn")
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "m" / "1" / "assets.extra" / "ckpt2saved.json").read_text())["onednn"]
    if record["skipped"]:
        pytest.skip(record["skipped"])
    assert record["answers"] == 1 and record["ended"] == [], done.output
    assert record["max_abs_difference"] == {"serving_default": {"text": 0.0}}
    assert "1 answer with it on, largest difference 0 from those with it off" in done.output
