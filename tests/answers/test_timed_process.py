"""A version in a process of its own answers several requests at a time, is measured and tells where its time goes."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from ckpt2saved.answers import cc_loader
from ckpt2saved.answers.timed_process import ENDED, SessionSettings, timed_process
from ckpt2saved.errors import InvalidRequest, NotServable
from ckpt2saved.graph.tf1 import tf, v1_control_flow
from ckpt2saved.requests.request import Request
from tests.support.saved_models import write_version

STEPS = 7


def letters(count):
    """A request of so many texts, which are b"x", b"xx", ..."""
    texts = np.empty(count, object)
    texts[:] = [b"x" * (number + 1) for number in range(count)]
    return Request("letters", "serving_default", {"x": texts})


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    """A loop with a product of matrices, over the lengths of texts; and the texts, twice."""

    def build(texts):
        sizes = tf.cast(tf.strings.length(texts), tf.float32)[:, None]
        weights = tf.Variable(tf.eye(1))
        loop = tf.while_loop(
            lambda step, state: step < STEPS,
            lambda step, state: (step + 1, tf.matmul(state, weights) + 1),
            (0, sizes),
            shape_invariants=(tf.TensorShape([]), tf.TensorShape([None, 1])),
        )
        return {"twice": tf.strings.join([texts, texts]), "sums": tf.nn.softmax(loop[1], 0) * 0 + loop[1]}

    with v1_control_flow():
        return write_version(
            tmp_path_factory.mktemp("timed") / "1", build, dtype="string", shape=(None,), restores=True
        )


@pytest.fixture(scope="module")
def process(version):
    """One thread for each op, and one op at a time."""
    with timed_process(version, SessionSettings(intra_op=1, inter_op=1), {"TF_ENABLE_ONEDNN_OPTS": "0"}) as process:
        yield process


def test_requests_run_at_the_same_time_and_are_measured(process):
    """Each of four threads has its own request; the answers and the bytes are those of each."""
    requests = [letters(count) for count in (1, 2, 3, 4)]
    found = {}
    assert process.loaded.tensorflow == tf.__version__ and not process.loaded.onednn

    def run(number):
        runs = [process.run(requests[number]) for _ in range(20)]
        found[number] = runs, process.answers(requests[number])

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, request in enumerate(requests):
        runs, answers = found[number]
        texts = request.inputs["x"]
        assert answers["twice"].tolist() == [text + text for text in texts]
        assert answers["sums"].tolist() == [[len(text) + STEPS] for text in texts]
        assert {run.failure for run in runs} == {None} and all(0 < run.seconds < 5 for run in runs)
        size = sum(map(len, texts))
        assert {(run.bytes_in, run.bytes_out) for run in runs} == {(size, 2 * size + 4 * len(texts))}


def test_a_profile_counts_the_steps_of_a_loop_and_leaves_no_time_out(process):
    """The product in the loop runs once at each step; groups and the time without an op add up to the runs' time."""
    profile = process.profile(letters(3), 4)
    assert profile.runs == 4
    times = {time.group: time for time in profile.groups}
    assert {"recurrent layers", "decoder", "transfers"} <= set(times)
    assert 5 * STEPS < times["recurrent layers"].runs < 50 * STEPS
    assert sum(time.share for time in profile.groups) == pytest.approx(1)
    total = sum(time.seconds for time in profile.groups) + profile.idle_seconds
    assert 0.9 * profile.seconds < total < 3 * profile.traced_seconds
    assert profile.share_of("decoder") == times["decoder"].share and profile.seconds_of("pictures") == 0


def test_a_version_that_does_not_load_is_told(tmp_path):
    """With the loader's message."""
    with pytest.raises(NotServable, match="TF Serving's loader refuses"), timed_process(tmp_path):
        pass


def test_strings_pass_the_c_api_whole(tmp_path):
    """Empty ones, with zero bytes, longer than a length of one byte, and none at all."""
    path = write_version(
        tmp_path / "1", lambda x: {"y": tf.strings.join([x, x], name="joined")}, dtype="string", shape=(None, 2)
    )
    texts = np.array([[b"", b"a"], [b"\0b" * 100, b"c" * 70000]], object)
    with cc_loader.loaded(cc_loader.find_library(), path) as model:
        for value in (texts, texts[:0]):
            (joined,) = model.run(["joined:0"], {"x:0": value})
            assert joined.shape == value.shape and joined.tolist() == (value + value).tolist()


def test_failures_are_named_and_the_process_goes_on(process):
    """A request of the wrong rank; then the process ends, and no thread waits for it."""
    wrong = Request("wrong", "serving_default", {"x": np.array([[b"a"]], object)})
    assert process.run(wrong).failure in ("INVALID_ARGUMENT", "UNIMPLEMENTED")
    with pytest.raises((InvalidRequest, NotServable), match="TF Serving would answer"):
        process.answers(wrong)
    right = letters(2)
    assert process.run(right).failure is None
    process._worker.interrupt(10)
    assert process.run(right).failure == ENDED
    with pytest.raises(NotServable, match=ENDED):
        process.profile(right, 1)
