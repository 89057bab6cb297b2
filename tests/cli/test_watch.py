"""The command `watch` beside a training that writes checkpoints in another process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from ckpt2saved.versions import read_provenance
from tests.support.checkpoints import write_checkpoint
from tests.support.command_line import ROOT, heed_interrupts
from tests.support.letters import GRAPH, SIGNATURES
from tests.support.model_server import serving_rest
from tests.support.run_directories import place
from tests.support.schemas import misfits_of_output

# Writes checkpoints as a training does, and keeps the two latest ones.
TRAINING = """
import sys, time
import tensorflow.compat.v1 as tf
tf.disable_eager_execution()

directory, steps, pause = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
step = tf.train.get_or_create_global_step()
weights = tf.get_variable("weights", [4, 4], initializer=tf.zeros_initializer())
train = tf.group(weights.assign(tf.eye(4) * tf.cast(step + 1, tf.float32)), step.assign_add(1))
saver = tf.train.Saver(max_to_keep=2)
with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    for _ in range(steps):
        session.run(train)
        saver.save(session, directory + "/model.ckpt", global_step=step)
        time.sleep(pause)
"""


QUICK = ("--no-parity",)  # one process with TensorFlow in place of two


def started(*command):
    environment = dict(os.environ, PYTHONPATH=str(ROOT), PYTHONUNBUFFERED="1")
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=heed_interrupts,
    )


@contextlib.contextmanager
def ended(process):
    """Kill the process, and those that it started, if it still runs."""
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Checkpoints of growing steps; the network of the first one reads b as a."""
    folder = tmp_path_factory.mktemp("made")
    worse = np.eye(4, dtype="float32")
    worse[1] = worse[0]
    weights = [worse] + [np.eye(4, dtype="float32") * step for step in range(2, 8)]
    return [
        write_checkpoint(folder / f"m-{step}", {"weights": value, "global_step": np.int64(step)})
        for step, value in enumerate(weights, start=1)
    ]


class Watched:
    """A training directory, and the command that watches it."""

    def __init__(self, folder, made):
        self.run, self.base, self.made = folder / "run", folder / "models", made
        (folder / "letters.py").write_text(GRAPH)
        (folder / "ocr.yaml").write_text(SIGNATURES)
        (folder / "lines.tsv").write_text("0.png\tabcd\n1.png\tbbaa\n")
        for number, text in enumerate(("abcd", "bbaa")):
            (folder / f"{number}.png").write_bytes(text.encode())
        self.folder = folder
        self.run.mkdir()

    def write(self, step, name=None):
        return place(self.run / (name or f"m-{step}"), self.made[step - 1], 1000 + step)

    def arguments(self, *more):
        given = ["watch", self.run, "--export-dir", self.base, "--model", self.folder / "ocr.yaml", "--allow-code"]
        given += ["--python-path", self.folder, "--interval", "0.2", "--no-warmup", "--json", *more]
        return [str(one) for one in given]

    def start(self, *more):
        return started("-m", "ckpt2saved", *self.arguments(*more))

    def finish(self, *more):
        """The exit code and the events."""
        with ended(self.start(*more)) as process:
            out, err = process.communicate(timeout=300)
        assert "Traceback" not in err, err
        events = [json.loads(line) for line in out.splitlines()]
        assert [text for event in events for text in misfits_of_output("watch", event)] == []
        return process.returncode, events

    def published(self):
        """The steps of the versions, oldest first; each is complete, and there is nothing else."""
        if not self.base.exists():
            return []
        numbers = sorted(int(name) for name in os.listdir(str(self.base)) if not name.startswith("."))
        assert not [name for name in os.listdir(str(self.base)) if name.startswith((".staging", ".pruned"))]
        return [read_provenance(self.base / str(number))["checkpoint"]["step"] for number in numbers]


@pytest.fixture
def watched(tmp_path, made):
    return Watched(tmp_path, made)


def kinds(events):
    return [event["event"] for event in events]


def test_a_training_is_published_while_it_runs(watched):
    """It deletes checkpoints faster than they are read; the last one is published, each once, and old ones are pruned."""
    training = watched.folder / "training.py"
    training.write_text(TRAINING)
    with ended(started(training, watched.run, 8, 0.5)) as process:
        code, events = watched.finish("--until-step", "8", "--keep", "2", *QUICK)
        assert process.wait(60) == 0
    assert code == 0 and events[-1] == {"event": "stopped", "reason": "step", "exit_code": 0, "format": 1}
    steps = [event["checkpoint"]["step"] for event in events if event["event"] == "published"]
    assert steps == sorted(set(steps)) and steps[-1] == 8
    assert watched.published() == steps[-2:]
    assert not {"failed", "refused"} & set(kinds(events)), events


def test_a_watcher_that_is_killed_loses_nothing_and_repeats_nothing(watched):
    """Before, in and after an export; the process of its export ends alone, while the next watcher has begun."""
    for step in (1, 2):
        watched.write(step)
    for event, seconds in (("watching", 0), ("exporting", 1.5), ("published", 0)):
        with watched.start("--select", "all", *QUICK) as process:
            line = ""
            while f'"{event}"' not in line:
                line = process.stdout.readline()
                assert line, process.communicate()
            time.sleep(seconds)
            process.kill()
            process.communicate()
    code, _ = watched.finish("--select", "all", "--once", *QUICK)
    assert code == 0 and watched.published() == [1, 2]


def test_a_signal_abandons_the_export(watched):
    """Exit code 0, and no trace: not even the base directory."""
    for number in (signal.SIGTERM, signal.SIGINT):
        watched.write(1)
        with ended(watched.start()) as process:
            line = ""
            while '"exporting"' not in line:
                line = process.stdout.readline()
            time.sleep(1)
            process.send_signal(number)
            out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert json.loads(out.splitlines()[-1])["reason"] == "signal" and not watched.base.exists()


def test_two_watchers_publish_each_checkpoint_once(watched):
    """The slower one says so, or has not even begun."""
    for step in (1, 2):
        watched.write(step)
    with ended(watched.start("--select", "all", "--once", *QUICK)) as other:
        code, events = watched.finish("--select", "all", "--once", *QUICK)
        out, err = other.communicate(timeout=300)
    assert (code, other.returncode) == (0, 0), err
    both = events + [json.loads(line) for line in out.splitlines()]
    assert sorted(watched.published()) == [1, 2] and kinds(both).count("published") == 2
    assert {event["reason"] for event in both if event["event"] == "skipped"} <= {"published"}


def test_the_best_one_is_published_if_it_is_better_than_the_newest_version(watched):
    """The first one reads b as a, the others everything right; nothing is tried twice."""
    gate = ("--once", "--select", "best", "--lines", watched.folder / "lines.tsv")
    watched.write(1)
    assert watched.finish(*gate)[0] == 0 and watched.published() == [1]
    for step in (2, 3):
        watched.write(step)
    code, events = watched.finish(*gate, *QUICK)
    assert code == 0 and watched.published() == [1, 3]
    skipped, *_ = [event for event in events if event["event"] == "skipped"]
    assert skipped["checkpoint"].endswith("m-2") and skipped["reason"] == "not-best"
    watched.write(4)
    code, events = watched.finish(*gate, *QUICK)
    assert code == 3 and watched.published() == [1, 3]
    (refused,) = [event for event in events if event["event"] == "refused"]
    assert refused["problem_details"][0]["code"] == "cer-not-lower" and refused["accuracy"]["cer"] == 0


def test_a_server_is_waited_for(watched):
    """Its state is told for each version, and versions that it holds are not pruned."""
    watched.write(1)
    assert watched.finish("--once", *QUICK)[0] == 0
    watched.write(2)
    with serving_rest(watched.base, "models") as server:
        code, events = watched.finish("--once", "--wait-for", server.url, "--keep", "1", *QUICK)
    assert code == 0 and kinds(events)[:4] == ["watching", "exporting", "published", "live"], events
    assert events[3]["path"] == str(watched.base / "2") and events[3]["server"]["address"] == server.url
    watched.write(3)
    code, events = watched.finish("--once", "--wait-for", server.url, "--timeout", "1", *QUICK)
    assert code == 0 and kinds(events)[2:4] == ["published", "not-live"] and watched.published()[-1] == 3


def test_a_crash_of_the_export_does_not_end_the_watcher(watched):
    """It is tried again."""
    watched.write(1)
    (watched.folder / "letters.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    with ended(watched.start("--until-step", "1", *QUICK)) as process:
        lines = []
        while not lines or '"failed"' not in lines[-1]:
            lines.append(process.stdout.readline())
        (watched.folder / "letters.py").write_text(GRAPH)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0 and watched.published() == [1], err
    assert "exit code -11" in json.loads(lines[-1])["error"]["message"]


def test_a_command_line_that_no_checkpoint_would_pass(watched, run):
    """Is refused before the first checkpoint comes."""
    for more, code, text in (
        (["--select", "best"], 2, "--select best: only with --lines"),
        (["--lines", watched.folder / "nothing.tsv"], 1, "nothing.tsv"),
        (["--model", "nowhere.yaml"], 2, "nowhere.yaml"),
        (["--tolerance", "0.1"], 2, "--tolerance: only with"),
        (["--wait-for", "http://localhost:1", "--model-name", "x", "--better-than", "newest"], 2, "only with --lines"),
    ):
        result = run(*[one for one in watched.arguments(*more) if one != "--json"])
        assert result.exit_code == code and text in result.output, result.output
    result = run("watch", watched.folder / "lines.tsv", "-o", watched.base, "--model", "crnn")
    assert result.exit_code == 2 and "expected the directory" in result.output
