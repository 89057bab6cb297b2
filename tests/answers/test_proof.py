"""A beam search that takes TensorFlow minutes is compared in bounded time, and no wrong version gets through for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ckpt2saved import ctc
from ckpt2saved.answers import stock_search, worker
from ckpt2saved.answers.search_limits import SearchLimits
from ckpt2saved.answers.stock_search import decode_in_time
from ckpt2saved.exporting import pipeline
from ckpt2saved.graph.beam_searches import BeamSearch, find_searches, searches_behind
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.rewrites import replace_ctc_decoder

ROOT = Path(__file__).resolve().parents[2]
FEATURES = 6


def trained(directory, batch=12, steps=20, classes=3000, width=100, lengths="constant", switch=False):
    """A training's checkpoint and graph of a fixed batch, whose beam search alone takes TensorFlow minutes."""
    with tf.Graph().as_default(), tf.Session() as session:
        images = tf.placeholder(tf.float32, [batch, steps, FEATURES], name="images")
        kernel = tf.get_variable(
            "kernel", [FEATURES, classes], initializer=tf.random_normal_initializer(seed=1), use_resource=False
        )
        flat = tf.matmul(tf.reshape(images, [-1, FEATURES]) / 255.0, kernel)
        if switch:
            flat *= tf.cast(tf.placeholder(tf.int64, [], name="scale"), tf.float32)
        logits = tf.transpose(tf.reshape(flat, [batch, steps, classes]), [1, 0, 2], name="logits")
        if lengths == "constant":
            sequence = tf.constant(steps * np.ones(batch, np.int32), name="seq_len")
        else:
            sequence = tf.placeholder(tf.int32, [batch], name="seq_len")
        (best,), _ = tf.nn.ctc_beam_search_decoder(logits, sequence, beam_width=width, merge_repeated=False)
        tf.sparse.to_dense(best, default_value=-1, name="ids")
        session.run(tf.global_variables_initializer())
        directory.mkdir()
        tf.train.Saver().save(session, str(directory / "model.ckpt"))
    return directory


TENSORS = ["--input=images=images:0", "--output=ids=ids:0", "--output=score=CTCBeamSearchDecoder:3"]


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("slow") / "run")


def exported(run, base, checkpoint, *options):
    limit = "--parity-seconds=1"  # the last of several holds
    return run("export", "-c", checkpoint, "-o", base, *TENSORS, limit, *options, "--json")


def searched(result):
    """What the provenance says of the beam search."""
    assert result.exit_code == 0, result.output
    return json.loads(result.output[result.output.index("{\n") :])["parity"]["beam_search"]


@pytest.fixture(scope="module")
def published(run, tmp_path_factory, training):
    """The result of its export, and the version."""
    base, started = tmp_path_factory.mktemp("published"), time.monotonic()
    result = exported(run, base, training, "--parity-seconds=2")
    assert time.monotonic() - started < 180
    return result, base / "1"


def test_a_slow_search_is_compared_in_bounded_time_and_it_is_said(published):
    """68 s by the estimate; here two seconds of it, all logits, and every line's first step."""
    result, version = published
    (found,) = searched(result)
    assert (found["request"], found["node"]) == ("parity[0]", "CTCBeamSearchDecoder")
    assert (found["beam_width"], found["classes"], found["lines"], found["steps"]) == (100, 3000, 12, 240)
    assert 12 < found["steps_compared"] < 240 and found["lines_compared"] < 12
    few = found["with_few_classes"]
    assert few["classes"] == 1 + 21 and few["lines_compared"] > 0 and few["steps_compared"] >= 20
    assert (
        "estimate    TensorFlow's own beam search (beam_width 100) would take about 68 s for 1 request, the largest "
        "12 lines x 20 steps x 3000 classes; it runs here for at most 2 s (--parity-seconds)\n"
    ) in result.output
    text = (
        "compared    parity[0]: CTCBeamSearchDecoder (beam_width 100) decoded {} of 12 lines completely ({} of 240 "
        "steps) with the likeliest 21 classes; {} of 12 lines completely ({} of 240 steps) with all classes, in "
    )
    figures = [found_in[key] for found_in in (few, found) for key in ("lines_compared", "steps_compared")]
    assert text.format(*figures) in result.output
    provenance = json.loads((version / "assets.extra" / "ckpt2saved.json").read_text())
    assert set(provenance["parity"]["max_abs_difference"]["serving_default"]) == {
        "ids",
        "score",
        "logits:0",
        "seq_len:0",
    }


@pytest.mark.skipif(not os.environ.get("CKPT2SAVED_TEST_LONG"), reason="CKPT2SAVED_TEST_LONG is not set")
def test_a_strangers_batch_ends(run, tmp_path):
    """128 lines x 70 steps x 5991 classes at width 100, which is an hour and a half of TensorFlow's op."""
    started = time.monotonic()
    training = trained(tmp_path / "run", 128, 70, 5991)
    (found,) = searched(run("export", "-c", training, "-o", tmp_path / "m", *TENSORS, "--json"))
    assert time.monotonic() - started < 240
    assert found["steps_compared"] > 128


def test_lengths_of_a_request_and_a_number_of_lines(run, tmp_path):
    """Lines of their own lengths, at most two of them decoded; the rest to their first step."""
    training = trained(tmp_path / "run", batch=5, steps=8, classes=500, width=20, lengths="request")
    options = ["--input=seq_len=seq_len:0", "--parity-seconds=60"]  # of which it takes one or two
    result = exported(run, tmp_path / "m", training, *options, "--parity-lines=2")
    (found,) = searched(result)
    assert (found["lines"], found["lines_compared"], found["steps"]) == (5, 2, 8 + 6 + 4 + 2 + 8)
    assert 3 + 2 + 4 <= found["steps_compared"] <= 3 + 8 + 8
    assert "on at most 2 line(s) of each request (--parity-lines)" in result.output
    (whole,) = searched(exported(run, tmp_path / "m", training, *options, "--parity-lines=4"))
    assert whole["lines_compared"] == 4
    assert searched(exported(run, tmp_path / "m", training, *options, "--parity-lines=5")) == []


def test_a_search_that_ends_in_time_is_compared_whole(run, tmp_path):
    """Not quick enough to go without a word, and yet all of it is read: the request is compared as it is."""
    training = trained(tmp_path / "run", batch=3, steps=8, classes=3000, width=50)
    result = run("export", "-c", training, "-o", tmp_path / "m", *TENSORS, "--json", "--parity-seconds=300")
    (found,) = searched(result)
    assert found["lines_compared"] == 3 and found["steps_compared"] == found["steps"] == 24
    parity = json.loads(result.output[result.output.index("{\n") :])["parity"]
    assert set(parity["max_abs_difference"]["serving_default"]) == {"ids", "score"}


def shortened(decoded):
    """The best path without its last label."""
    (best,), score = decoded
    count = tf.maximum(tf.shape(best.values)[0] - 1, 0)
    return [tf.SparseTensor(best.indices[:count], best.values[:count], best.dense_shape)], score


WRONG = {
    "another width": lambda logits, lengths, **how: ctc.beam_search(logits, lengths, **dict(how, beam_width=1)),
    "the worst class": lambda logits, lengths, **how: ctc.beam_search(-logits, lengths, **how),
    "one line for all": lambda logits, lengths, **how: ctc.beam_search(
        tf.tile(logits[:, :1], [1, tf.shape(logits)[1], 1]), lengths, **how
    ),
    "a label lost": lambda logits, lengths, **how: shortened(ctc.beam_search(logits, lengths, **how)),
}


@pytest.mark.parametrize("kind", sorted(WRONG))
def test_a_wrong_decoder_is_found_out(run, tmp_path, monkeypatch, training, kind):
    """Though a few steps of it are compared only."""
    monkeypatch.setattr(replace_ctc_decoder, "ctc", SimpleNamespace(beam_search=WRONG[kind]))
    result = exported(run, tmp_path / "m", training, "--ctc-decoder=fast")
    assert result.exit_code == 3, result.output
    assert "the staged files answer differently from the original graph" in result.output
    assert not list((tmp_path / "m").glob("*"))


def test_a_wrong_network_is_found_out(run, tmp_path, monkeypatch, training):
    """On lines too of which the beam search read one step only: all logits are compared."""
    write = pipeline.write_saved_model

    def other(stage, serving, checkpoint, weights):
        for node in serving.graph_def.node:
            if node.name == "truediv/y":
                node.attr["value"].tensor.float_val[:] = [254.0]
        write(stage, serving, checkpoint, weights)

    monkeypatch.setattr(pipeline, "write_saved_model", other)
    result = exported(run, tmp_path / "m", training, "--ctc-decoder=fast")
    assert result.exit_code == 3, result.output
    assert "parity[0]: serving_default.logits:0: values differ by up to" in result.output


def test_the_op_itself_is_served_and_compared_in_bounded_time(run, tmp_path, training):
    """A server would take as long to answer a warm-up request that runs it, so the request runs another decoder."""
    started = time.monotonic()
    result = exported(run, tmp_path, training, "--ctc-decoder=stock")
    (found,) = searched(result)
    assert time.monotonic() - started < 180 and found["steps_compared"] < found["steps"]
    assert "warm-up     1 request written (signature warmup)\n" in result.output


def test_greedy_is_told_from_the_beam_search_on_what_that_read(run, tmp_path, training):
    """The files are held to all of what greedy answers."""
    result = exported(run, tmp_path, training, "--ctc-decoder=greedy")
    assert searched(result) == []
    assert "it runs here for at most 1 s" in result.output and "greedy      decodes " in result.output
    lines = result.output.split("greedy      decodes ")[1].split()
    assert 0 < int(lines[2]) <= 12


def test_verify_compares_with_the_checkpoint_in_bounded_time(run, tmp_path, training, published):
    """Under the same options, with the same words; a version of other weights is found out."""
    arguments = ["verify", published[1], "-c", training, "--parity-seconds=1"]
    arguments += TENSORS
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    content = json.loads(result.output[result.output.index("{\n") :])
    (found,) = content["checkpoint"]["beam_search"]
    assert found["steps_compared"] < found["steps"]
    other = trained(tmp_path / "other", steps=20)
    with tf.Graph().as_default(), tf.Session() as session:
        kernel = tf.get_variable("kernel", [FEATURES, 3000], use_resource=False)
        session.run(tf.global_variables_initializer())
        tf.train.Saver([kernel]).save(session, str(other / "model.ckpt"), write_meta_graph=False)
    arguments[3] = other
    result = run(*arguments)
    assert result.exit_code == 3 and "logits:0: values differ by up to" in result.output


def test_what_a_request_takes_is_tried_without_the_slow_search(run, tmp_path):
    """A number that only trying finds: each trial would take the op a minute."""
    training = trained(tmp_path / "run", switch=True)
    started = time.monotonic()
    searched(exported(run, tmp_path / "m", training, "--input=scale=scale:0"))
    assert time.monotonic() - started < 180


def test_an_interrupt_ends_it_at_once(tmp_path, training):
    """TensorFlow's op can't be interrupted; its process can be ended. Nothing is left behind."""
    command = [sys.executable, "-m", "ckpt2saved", "export", "-c", str(training), "-o", str(tmp_path / "m")]
    started = subprocess.Popen(
        command + TENSORS,
        env=dict(os.environ, PYTHONPATH=str(ROOT), TMPDIR=str(tmp_path)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
    )
    for line in started.stderr:
        if line.startswith("estimate"):
            break
    time.sleep(1)
    before = time.monotonic()
    started.send_signal(signal.SIGTERM)  # as SIGINT, which a shell has its background jobs ignore
    started.communicate()
    assert time.monotonic() - before < 20  # idle: under one
    assert started.returncode == 1
    assert not list(tmp_path.glob("ckpt2saved-*")) and not list((tmp_path / "m").glob(".staging*"))


def on_the_whole(search, logits, lengths):
    """What the op itself makes of the batch."""
    settings = (search.beam_width, search.top_paths, search.merge_repeated)
    with tf.Graph().as_default(), tf.Session() as session:
        paths, scores = session.run(tf.nn.ctc_beam_search_decoder(logits, lengths, *settings))
    return [part for parts in zip(*paths) for part in parts] + [scores]


@pytest.mark.parametrize(
    "classes, width, paths, merge", [(7, 1, 1, False), (7, 6, 3, True), (3, 8, 5, False), (2, 4, 2, True)]
)
def test_lines_one_by_one_are_what_the_op_makes_of_the_batch(classes, width, paths, merge):
    """Each line on its own, an empty one too, put together as the op's outputs."""
    random = np.random.RandomState(3)
    logits, lengths = random.randn(9, 5, classes).astype("float32"), np.array([9, 4, 7, 5, 9], np.int32)
    if paths == 1:
        lengths[1] = 0
    search = BeamSearch("decoder", width, paths, merge, "logits:0", "lengths:0", ())
    told = []
    (decoded,) = decode_in_time(search, logits, lengths, SearchLimits(60), lambda *what: told.append(what))
    assert list(decoded.lengths) == list(lengths)
    for wanted, found in zip(on_the_whole(search, logits, lengths), decoded.outputs):
        assert wanted.dtype == found.dtype
        np.testing.assert_array_equal(wanted, found)
    (few,) = decode_in_time(search, logits, lengths, SearchLimits(60, lines=2))
    assert len(few.lines) == 2 and sum(few.lengths == lengths) >= 2
    for wanted, found in zip(on_the_whole(search, logits, few.lengths), few.outputs):
        np.testing.assert_array_equal(wanted, found)


def test_a_process_decodes_one_batch_after_the_other(processes):
    """TensorFlow is imported once. A process that still decodes when enough was read is ended."""
    random = np.random.RandomState(6)
    with worker.kept_processes():
        for width, classes in ((2, 5), (4, 9)):
            search = BeamSearch("decoder", width, 1, False, "logits:0", "lengths:0", ())
            logits, lengths = random.randn(6, 3, classes).astype("float32"), np.array([6, 4, 5], np.int32)
            (decoded,) = decode_in_time(search, logits, lengths, SearchLimits(60))
            for wanted, found in zip(on_the_whole(search, logits, lengths), decoded.outputs):
                np.testing.assert_array_equal(wanted, found)
        assert [process.is_running for process in processes] == [True]
        slow = BeamSearch("decoder", 100, 1, False, "logits:0", "lengths:0", ())  # a minute for these lines
        logits, lengths = random.randn(20, 12, 3000).astype("float32"), np.full([12], 20, np.int32)
        job = stock_search._job(slow, logits, lengths, SearchLimits(1000), None)
        with stock_search._messages(job) as messages:
            assert next(message for message in messages if message)[0] == stock_search._FIRST
        assert [process.is_running for process in processes] == [False]


def test_few_classes_are_read_as_if_the_others_could_not_be():
    """What the op makes of its likeliest classes is what any decoder makes of logits that exclude the others."""
    random = np.random.RandomState(4)
    logits, lengths = random.randn(12, 4, 400).astype("float32") * 3, np.array([12, 7, 1, 0], np.int32)
    search = BeamSearch("decoder", 30, 1, False, "logits:0", "lengths:0", ())
    narrow, whole = decode_in_time(search, logits, lengths, SearchLimits(0.1))
    assert narrow.labels.shape == (4, 30) and set(narrow.lines) <= {0, 1} and narrow.lines
    for reading in (narrow, whole):
        given = reading.shortened(logits, lengths)
        np.testing.assert_array_equal(given[7:, 1], logits[7:, 1])  # behind the end nothing is changed
        for wanted, found in zip(on_the_whole(search, given, lengths), reading.outputs):
            np.testing.assert_allclose(wanted, found, rtol=1e-4)


def test_a_search_that_reads_nothing_is_no_proof(monkeypatch):
    """Nothing is green because there was no time to look."""
    monkeypatch.setattr(stock_search, "_LATEST", 0.0)
    search = BeamSearch("decoder", 400, 1, False, "logits:0", "lengths:0", ())
    logits = np.random.RandomState(5).randn(3, 1, 60000).astype("float32")
    with pytest.raises(stock_search.TensorFlowError, match="did not decode a single line .*--parity-seconds"):
        decode_in_time(search, logits, np.array([3], np.int32), SearchLimits(0.01))


def test_a_process_that_dies_is_said(monkeypatch):
    """As for lack of memory."""
    command = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
    monkeypatch.setattr(worker, "python_command", lambda *arguments: command)
    search = BeamSearch("decoder", 2, 1, False, "logits:0", "lengths:0", ())
    with pytest.raises(stock_search.TensorFlowError, match="has ended .exit code -9; out of memory"):
        decode_in_time(search, np.zeros([3, 1, 4], "float32"), np.array([3], np.int32), SearchLimits(1))


def test_searches_are_found_behind_the_outputs_that_depend_on_them():
    """By way of control inputs too."""
    with tf.Graph().as_default() as graph:
        logits = tf.placeholder(tf.float32, [4, None, 5], name="logits")
        lengths = tf.placeholder(tf.int32, [None], name="lengths")
        (best,), score = tf.nn.ctc_beam_search_decoder(logits, lengths, beam_width=3)
        with tf.control_dependencies([score]):
            waiting = tf.identity(lengths, name="waiting")
        best_class = tf.argmax(logits, 2, name="classes")
    (search,) = find_searches(graph, [best.values.name])
    assert (search.beam_width, search.top_paths, search.logits) == (3, 1, "logits:0")
    assert searches_behind(graph, waiting.name, [search]) == (search,)
    assert searches_behind(graph, best_class.name, [search]) == ()
    assert search.work(5, np.array([0, 1, 4])) == 5 * (1 + 1 + 3 * 3)
