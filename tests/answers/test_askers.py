"""Files answer each signature through the loader that can carry it, one request after the other."""

from __future__ import annotations

import numpy as np
import pytest

from ckpt2saved.answers import cc_loader
from ckpt2saved.answers.comparison import compare, nan_problems
from ckpt2saved.answers.file_asker import open_files
from ckpt2saved.answers.new_process import loaded_in_new_process
from ckpt2saved.answers.worker import WorkerEnded, kept_processes, working
from ckpt2saved.errors import NotServable
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.requests.request import Request
from tests.support.saved_models import write_version

NUMBERS = Request("one", "numbers", {"x": np.array([[1, 2]], np.float32)})
TEXTS = Request("two", "texts", {"t": np.array([b"a", b"bcd\0"], object)})


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    """A SavedModel with a signature of numbers and one of strings."""
    path = tmp_path_factory.mktemp("base") / "1"
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [None, 2], name="x")
        texts = tf.placeholder(tf.string, [None], name="t")
        signatures = {
            "numbers": tf.saved_model.predict_signature_def(
                {"x": x}, {"root": tf.sqrt(x), "twice": tf.identity(x, name="inner") * 2}
            ),
            "texts": tf.saved_model.predict_signature_def({"t": texts}, {"sizes": tf.strings.length(texts)}),
        }
        builder = tf.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(session, ["serve"], signatures)
        builder.save()
    return path


def test_each_signature_is_asked_through_the_loader_that_carries_it(version):
    """Numbers through the C++ loader, strings in a new process, which answers all of them; the text says so."""
    with open_files(version) as files:
        assert files.answer(NUMBERS)["twice"].tolist() == [[2, 4]]
        assert files.loader == "the C++ loader that TF Serving uses"
        for _ in range(2):
            assert files.answer(TEXTS)["sizes"].tolist() == [1, 4]
        assert "; signatures with strings by Python's loader in a new process" in files.loader


@pytest.mark.parametrize("has_library", [True, False], ids=["cc-loader", "new-process"])
def test_a_request_that_is_refused_does_not_end_the_asker(version, monkeypatch, has_library):
    """The message is the graph's; the next request is answered."""
    if not has_library:
        monkeypatch.setattr(cc_loader, "find_library", lambda: None)
    wrong = Request("wrong", "numbers", NUMBERS.inputs, inner_fetches=("nowhere:0",))
    with open_files(version) as files:
        with pytest.raises(NotServable, match="nowhere"):
            files.answer(wrong)
        assert files.answer(NUMBERS)["twice"].tolist() == [[2, 4]]


def test_a_part_of_the_outputs_and_inner_tensors_are_asked_for(version):
    """As where only a part of a graph is compared, and as a warm-up request with an output filter."""
    with open_files(version) as files:
        part = Request("part", "numbers", NUMBERS.inputs, outputs=("root",), inner_fetches=("inner:0",))
        assert sorted(files.answer(part)) == ["inner:0", "root"]
        fed = Request(
            "fed", "numbers", NUMBERS.inputs, outputs=("twice",), inner_feeds={"inner:0": np.ones([1, 2], "f")}
        )
        assert files.answer(fed)["twice"].tolist() == [[2, 2]]


def test_nan_and_differences_are_told_by_output(version):
    """The root of a negative number; and an answer that is another by more than rounding."""
    negative = Request("negative", "numbers", {"x": np.array([[-1, 4]], np.float32)})
    with open_files(version) as files:
        answers = files.answer(negative)
    (problem,) = nan_problems([negative], [answers])
    assert "negative: numbers.root: 1 of 2 values are NaN" in str(problem)
    comparison = compare([negative], [{"twice": answers["twice"]}], [{"twice": answers["twice"] + 1}])
    assert comparison.max_abs == 1 and comparison.by_signature() == {"numbers": {"twice": 1}}
    assert len(comparison.problems) == 1


def test_a_worker_that_ends_is_told_from_one_that_answers():
    """A module whose main() returns at once sends nothing."""
    with working("tests.support.tensors") as worker, pytest.raises(WorkerEnded, match="exit code 1"):
        worker.receive()


def test_a_process_is_used_again_until_the_context_ends(version, tmp_path, processes):
    """With what it then loads alone; one that was in use when an error was raised is not used again."""
    other = write_version(tmp_path / "1", lambda x: {"y": x * 3})
    number = Request("other", "serving_default", {"x": np.full([1, 4], 2, np.float32)})
    with kept_processes():
        with kept_processes(), loaded_in_new_process(version) as files:
            assert files.answer(TEXTS)["sizes"].tolist() == [1, 4]
        with loaded_in_new_process(other) as files, loaded_in_new_process(version) as at_once:
            assert files.answer(number)["y"].tolist() == [[6] * 4]
            assert at_once.answer(TEXTS)["sizes"].tolist() == [1, 4]
        assert [process.is_running for process in processes] == [True, False]
        with pytest.raises(NotServable, match="nowhere"), loaded_in_new_process(tmp_path / "nowhere"):
            pass
        assert [process.is_running for process in processes] == [False, False]
        with loaded_in_new_process(version) as files:
            assert files.answer(TEXTS)["sizes"].tolist() == [1, 4]
        assert processes[2].is_running
    assert len(processes) == 3 and not processes[2].is_running


def test_a_process_ends_at_once_where_none_is_kept(version, processes):
    """As where one command runs one model."""
    for _ in range(2):
        with loaded_in_new_process(version) as files:
            assert files.answer(TEXTS)["sizes"].tolist() == [1, 4]
    assert [process.is_running for process in processes] == [False, False]
