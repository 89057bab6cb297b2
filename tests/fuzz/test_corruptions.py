"""Two hundred corruptions of versions and checkpoints: an exit code and a message each time, and what has a checksum is found."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from ckpt2saved.checkpoint.files import find_checkpoint
from ckpt2saved.checkpoint.index import Damaged, NotRead, read_index
from ckpt2saved.cli import main as command_line
from ckpt2saved.errors import CheckpointError, VersionError
from ckpt2saved.files.protobuf.wire import varint
from ckpt2saved.requests.request import Request
from ckpt2saved.requests.warm_up.file import as_prediction_log
from ckpt2saved.saved_model.judgement import EVERYTHING, WARMUP_FILE, judge, judge_warmup
from ckpt2saved.versions import PROVENANCE, bump_version
from tests.fuzz.corruptions import corruptions, fresh_copy
from tests.fuzz.fuzzer import forked, with_timers
from tests.fuzz.targets import as_records
from tests.support.command_line import ROOT

GRAPH, INDEX, DATA = "saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"
ASSET = "assets/words.txt"
FILES = [GRAPH, INDEX, DATA, WARMUP_FILE, ASSET, PROVENANCE.as_posix()]
CPU_SECONDS, WALL_SECONDS = 20, 60  # for the commands of one corruption


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A model with one version, which has variables, an asset, a warm-up request and a record of its content."""
    from tensorflow.python.ops import lookup_ops

    from ckpt2saved.graph.tf1 import tf

    folder = tmp_path_factory.mktemp("corruptions")
    (folder / "words.txt").write_text("one\ntwo\nthree\n")
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [None, 30], name="x")
        weights = tf.get_variable("net/w", [30, 20], initializer=tf.ones_initializer(), use_resource=False)
        bias = tf.get_variable("net/b", [20], initializer=tf.zeros_initializer(), use_resource=False)
        words = tf.placeholder(tf.string, [None], name="words")
        table = lookup_ops.index_table_from_file(str(folder / "words.txt"))
        session.run([tf.global_variables_initializer(), tf.tables_initializer()])
        outputs = {"y": tf.matmul(x, weights) + bias, "ids": table.lookup(words)}
        signature = tf.saved_model.predict_signature_def({"x": x, "words": words}, outputs)
        builder = tf.saved_model.Builder(str(folder / "built"))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            {"serving_default": signature},
            assets_collection=tf.get_collection(tf.GraphKeys.ASSET_FILEPATHS),
            main_op=tf.tables_initializer(),
        )
        builder.save()
    inputs = {"x": np.ones((1, 30), np.float32), "words": np.array([b"two"], object)}
    (folder / "built" / WARMUP_FILE).parent.mkdir()
    record = as_prediction_log(Request("r", "serving_default", inputs), "m")
    (folder / "built" / WARMUP_FILE).write_bytes(as_records(record))
    published = bump_version(folder / "base", folder / "built")
    assert judge(published.path, EVERYTHING) == () and judge_warmup(published.path) == ()
    return folder / "base"


def cases(directory, name):
    others = [directory / other for other in FILES[:4] if other != name]
    return list(corruptions(directory / name, others))


def commands(version, good, scratch):
    """Those that read a version and need no TensorFlow."""
    model = str(version.parent)
    return [
        ["list", model, "--deep", "--json"],
        ["list", model],
        ["bump-version", str(scratch / "other"), "--from", str(version)],
        ["bump-version", model, "--from", "1", "--dry-run"],
        ["diff", str(good), str(version)],
        ["diff", str(version), str(good), "--json"],
        ["doctor", str(version), "--serving", "2.19"],
        ["serving-config", model, "--output-dir", str(scratch / "out"), "--batching", "--dry-run"],
        ["prune", model, "--keep", "1", "--dry-run"],
    ]


def ran(arguments):
    """Exit code of a command, after a check that it ended with a message and without a traceback."""
    result = CliRunner().invoke(command_line, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise AssertionError(f"{arguments[0]}: {result.exception!r}") from result.exception
    assert result.exit_code in (0, 1, 2, 3) and "Traceback" not in result.output, result.output
    assert result.exit_code == 0 or result.output.strip(), arguments
    assert len(result.output) < 100000
    return result.exit_code


def checked(call, names):
    """Call for each name in one process with limits; the complaints."""

    def all_of_them():
        found = {}
        for name in names:
            with_timers(CPU_SECONDS, WALL_SECONDS)
            try:
                call(name)
            except Exception as error:
                found[name] = repr(error)[:1000]
        return found

    answer, status, _ = forked(all_of_them)
    ended = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else status
    assert answer is not None, f"the process ended with {ended}"
    return answer


@pytest.mark.parametrize("name", FILES)
def test_commands_end_with_a_message(base, tmp_path, name):
    """Whatever one file of the version has become."""
    by_name = {one.name: one for one in cases(base / "1", name)}

    def call(case):
        version = fresh_copy(base / "1", tmp_path / "model" / "1")
        by_name[case].apply(version / name)
        for arguments in commands(version, base / "1", tmp_path):
            ran(arguments)

    assert checked(call, by_name) == {}
    assert len(by_name) >= 20


# No checksum of TensorFlow's covers saved_model.pb, the assets and the record of the export; the record of the content
# (content_sha256) covers all but the record itself.


def uncovered(directory, name, one):
    """Whether a corruption changes bytes that neither TensorFlow's checksums nor its structure cover."""
    content = (directory / name).read_bytes()
    size = len(content)
    if name == DATA:
        return one.place >= size  # behind the last tensor; nothing reads there
    if name == WARMUP_FILE:
        return one.name in ("cut to 0", "twice")  # whole records: none, or each of them twice
    if one.name == "twice":
        return True  # an index is read from its end, and its places are those of the first half
    # The meta block, which nobody reads, and the zeros in the footer behind the places of both blocks.
    footer = content[-48:-8].rstrip(b"\0")
    start, at = varint(footer, 0)
    length, at = varint(footer, at)
    return start <= one.place < start + length + 5 or size - 48 + len(footer) <= one.place < size - 8


@pytest.mark.parametrize("name", [INDEX, DATA, WARMUP_FILE])
def test_what_has_a_checksum_is_found(base, tmp_path, name):
    """Without the record of the content, by the checksums of TensorFlow's formats."""
    missed = []
    for one in cases(base / "1", name):
        version = fresh_copy(base / "1", tmp_path / "1")
        (version / PROVENANCE).unlink()
        one.apply(version / name)
        if not judge(version, EVERYTHING) + judge_warmup(version) and not uncovered(base / "1", name, one):
            missed.append(one.name)
    gone = ["gone", "a dangling link"] if name == WARMUP_FILE else []  # no warm-up file is none
    assert [one for one in missed if one not in gone] == []


@pytest.mark.parametrize("name", [name for name in FILES if name != PROVENANCE.as_posix()])
def test_the_recorded_content_finds_every_change(base, tmp_path, name):
    """Before anything is published of it, in whatever file the change is."""
    taken = []
    for one in cases(base / "1", name):
        version = fresh_copy(base / "1", tmp_path / "1")
        one.apply(version / name)
        try:
            bump_version(tmp_path / "other", version)
        except VersionError:
            continue
        taken.append(one.name)
    assert taken == []
    assert not (tmp_path / "other").exists() or os.listdir(str(tmp_path / "other")) == []


# Checkpoints


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Directories with a checkpoint of tf.train.Saver, and with one of tf.train.Checkpoint."""
    from ckpt2saved.graph.tf1 import tf

    folder = tmp_path_factory.mktemp("checkpoints")
    found = {}
    for kind in ("saver", "objects"):
        (folder / kind).mkdir()
        with tf.Graph().as_default(), tf.Session() as session:
            x = tf.placeholder(tf.float32, [None, 4], name="x")
            w = tf.get_variable("w", [4, 3], initializer=tf.ones_initializer(), use_resource=kind == "objects")
            tf.nn.softmax(tf.matmul(x, w), name="prob")
            session.run(tf.global_variables_initializer())
            if kind == "saver":
                tf.train.Saver().save(session, str(folder / kind / "model.ckpt"), global_step=7)
            else:
                tf.train.Checkpoint(w=w).save(str(folder / kind / "model.ckpt"), session=session)
        found[kind] = folder / kind
    return found


def names_in(directory):
    return sorted(os.listdir(str(directory)))


@pytest.mark.parametrize("kind", ["saver", "objects"])
def test_readers_of_a_checkpoint_end_with_a_message(checkpoints, tmp_path, kind):
    """Those that need no TensorFlow."""
    good = checkpoints[kind]
    by_name = {
        f"{name}: {one.name}": (name, one)
        for name in names_in(good)
        for one in corruptions(good / name, [good / other for other in names_in(good) if other != name])
    }

    def call(case):
        name, one = by_name[case]
        directory = fresh_copy(good, tmp_path / "run")
        one.apply(directory / name)
        try:
            files = find_checkpoint(directory)
            read_index(files.files[0])
        except (CheckpointError, Damaged, NotRead, OSError) as error:
            assert str(error)
        for arguments in (["list", str(directory)], ["bump-version", str(tmp_path / "b"), "--from", str(directory)]):
            assert ran(arguments) in (0, 1)  # 0: an empty list, where nothing is left to tell a checkpoint by

    assert checked(call, by_name) == {}
    assert len(by_name) >= 60


def test_there_are_two_hundred(base, checkpoints):
    of_versions = sum(len(cases(base / "1", name)) for name in FILES)
    of_checkpoints = sum(
        len(list(corruptions(directory / name, [])))
        for directory in checkpoints.values()
        for name in names_in(directory)
    )
    assert of_versions >= 150 and of_checkpoints >= 100, (of_versions, of_checkpoints)


# A sample through the commands that load TensorFlow, in one process of their own: its C++ might not survive.

_IN_PROCESS = """
import json, sys
from click.testing import CliRunner
from ckpt2saved.cli import main
for line in sys.stdin:
    result = CliRunner().invoke(main, json.loads(line))
    expected = result.exception is None or isinstance(result.exception, SystemExit)
    answer = [result.exit_code, "" if expected else repr(result.exception), result.output[-2000:]]
    sys.__stdout__.write(json.dumps(answer) + "\\n")
    sys.__stdout__.flush()
"""
_SAMPLE = ("cut to 0", "halves swapped", "all ones", "twice", "a pipe", "a byte gone")


def test_a_sample_through_tensorflow(base, checkpoints, tmp_path):
    """inspect of a version and of both checkpoints; export of a checkpoint whose values are damaged, which publishes nothing."""
    asked = []
    for source, names in [(base / "1", FILES[:3])] + [(one, names_in(one)) for one in checkpoints.values()]:
        for name in names:
            for one in corruptions(source / name, []):
                if one.name in _SAMPLE or one.name.startswith("bit 0"):
                    copy = Path(shutil.copytree(str(source), str(tmp_path / str(len(asked)) / "1")))
                    one.apply(copy / name)
                    asked.append(["inspect", str(copy), "--json"])
    damaged = Path(shutil.copytree(str(checkpoints["saver"]), str(tmp_path / "damaged")))
    data = next(damaged.glob("*.data-*"))
    data.write_bytes(bytes([data.read_bytes()[0] ^ 1]) + data.read_bytes()[1:])
    chosen = ["--graph", "meta", "--input", "x=x:0", "--output", "prob=prob:0"]
    asked.append(["export", "--checkpoint", str(damaged), "--export-dir", str(tmp_path / "out"), *chosen])
    done = subprocess.run(
        [sys.executable, "-c", _IN_PROCESS],
        input="".join(json.dumps(line) + "\n" for line in asked),
        capture_output=True,
        text=True,
        timeout=200,
        env=dict(os.environ, PYTHONPATH=str(ROOT), CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="3"),
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(asked), f"{asked[len(answers)]}: {done.stderr[-2000:]}"
    for arguments, (code, error, output) in zip(asked, answers):
        assert error == "" and code in (0, 1, 2, 3) and "Traceback" not in output, (arguments, error, output)
    code, _, output = answers[-1]
    assert code == 1 and "w" in output and not list(Path(tmp_path).glob("out/[0-9]*")), output
