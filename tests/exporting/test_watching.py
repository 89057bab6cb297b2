"""Which checkpoints of a training directory are exported, and when: with exports that take no time."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from ckpt2saved.checkpoint.files import find_checkpoint
from ckpt2saved.console.loops import Stop
from ckpt2saved.errors import (
    CheckpointError,
    NoCheckpoint,
    NotAccurate,
    NotDeleted,
    UsageError,
    VersionError,
    WriteError,
)
from ckpt2saved.exporting import watching
from ckpt2saved.exporting.watching import (
    ALL,
    BEST,
    CRASHED,
    FATAL,
    KNOWN,
    LATEST,
    REFUSED,
    TRANSIENT,
    Attempt,
    Failure,
    Watcher,
    WatchOptions,
)
from ckpt2saved.versions import bump_version, next_version, prune_versions
from ckpt2saved.versions.deletion import not_deleted
from tests.support.checkpoints import write_checkpoint
from tests.support.run_directories import delete, place, write_state
from tests.support.schemas import misfits_of_output
from tests.support.versions import make_version, names


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Ten checkpoints, to be copied."""
    folder = tmp_path_factory.mktemp("made")
    return [write_checkpoint(folder / f"made-{step}", {"x": np.full(2, step, "float32")}) for step in range(10)]


class Run:
    """A training directory, a base, and a watcher with an export that only records."""

    def __init__(self, folder, made):
        self.run, self.base, self.made = folder / "run", folder / "models", made
        self.events, self.tried = [], []
        self.stop = Stop()
        self.failures = {}  # name -> failures, one for each try
        self.during = {}  # name -> a function that is called while the checkpoint is exported
        self.best = None

    def write(self, step, seconds=None, content=None):
        made = self.made[step if content is None else content]
        return place(self.run / f"m-{step}", made, 1000 + step if seconds is None else seconds)

    def export(self, checkpoints):
        chosen = checkpoints[-1]
        if self.best:
            chosen = next(one for one in checkpoints if one.files.name == self.best)
        name = chosen.files.name
        self.tried.append([one.files.name for one in checkpoints])
        self.during.pop(name, lambda: None)()
        failures = self.failures.get(name, [])
        if failures:
            return Attempt(failure=failures.pop(0))
        checkpoint = {"name": name, "step": chosen.step_in_name, "sha256": dict(zip("abc", chosen.content))}
        number = str(next_version(self.base))
        path = make_version(self.base, number, provenance={"format": 1, "checkpoint": checkpoint})
        return Attempt(published=path, step=chosen.step_in_name, selected=chosen.prefix)

    def watch(self, **options):
        options.setdefault("interval", 0.05)
        options = WatchOptions(self.run, self.base, **options)
        return Watcher(options, self.export, self.prune, self.emit, self.stop).run()

    def emit(self, event):
        assert misfits_of_output("watch", {"event": event.kind, **event.content, "format": 1}) == []
        self.events.append(event)

    def prune(self, keep):
        return [version.path for version in prune_versions(self.base, keep)]

    def told(self, kind):
        return [event for event in self.events if event.kind == kind]


@pytest.fixture
def run(tmp_path, made, monkeypatch):
    monkeypatch.setattr(watching, "_SEEN", 0.05)
    return Run(tmp_path, made)


def failure(kind, error=None):
    return Failure(kind, error or CheckpointError("it is so"))


def test_the_latest_checkpoint_is_exported_once(run):
    """With the ones before it left out; again nothing, and then a new one."""
    for step in (1, 2, 3):
        run.write(step)
    assert run.watch(once=True) == 0
    assert run.tried == [["m-3"]]
    assert [event.content["reason"] for event in run.told("skipped")] == ["newer", "newer"]
    run.events.clear()
    assert run.watch(once=True) == 0
    assert run.tried == [["m-3"]] and [event.kind for event in run.events] == ["watching", "stopped"]
    run.write(4)
    assert run.watch(once=True) == 0
    assert run.tried == [["m-3"], ["m-4"]]


def test_all_are_exported_in_their_order(run):
    """Also those that appear meanwhile; the training deletes others before they are read."""
    for step in (1, 2, 3):
        run.write(step)
    run.during["m-1"] = lambda: (run.write(9), delete(run.run / "m-2"))
    assert run.watch(once=True, select=ALL) == 0
    assert run.tried == [["m-1"], ["m-3"], ["m-9"]]


def test_the_best_one_is_selected_of_all_new_ones(run):
    """The others are not tried again."""
    for step in (1, 2, 3):
        run.write(step)
    run.best = "m-2"
    assert run.watch(once=True, select=BEST) == 0
    assert [event.content["reason"] for event in run.told("skipped")] == ["not-best", "not-best"]
    run.best = None
    assert run.watch(once=True, select=BEST) == 0
    # After a restart what came after the best one is tried once more, and nothing before it.
    assert run.tried == [["m-1", "m-2", "m-3"], ["m-3"]]


@pytest.mark.parametrize("select", [LATEST, ALL, BEST])
def test_pruned_versions_do_not_come_back(run, select):
    """Nor after a rollback to the oldest one, when all later ones were pruned."""
    for step in (1, 2, 3):
        run.write(step)
    assert run.watch(once=True, select=ALL) == 0
    bump_version(run.base, "1")
    assert run.watch(once=True, select=select, keep=1) == 0
    prune_versions(run.base, keep=1)
    assert [name for name in names(run.base) if name.isdigit()] == ["4"]
    assert run.watch(once=True, select=select) == 0
    assert len(run.tried) == 3


def test_old_versions_are_pruned_after_publishing(run):
    """As `prune` does it."""
    for step in (1, 2, 3):
        run.write(step)
    assert run.watch(once=True, select=ALL, keep=2) == 0
    assert [event.content["deleted"] for event in run.told("pruned")] == [[str(run.base / "1")]]
    assert names(run.base)[1:] == ["2", "3"]


def test_versions_that_were_deleted_by_hand_do_not_come_back(run):
    """Those of checkpoints before the last one that is known."""
    for step in (1, 2, 3):
        run.write(step)
    assert run.watch(once=True, select=ALL) == 0
    oldest = sorted(run.base.iterdir())[0]
    for path in [*oldest.rglob("*"), oldest]:
        if path.is_file():
            path.unlink()
    assert run.watch(once=True, select=ALL) == 0
    assert len(run.tried) == 3


@pytest.mark.parametrize("select", [LATEST, ALL, BEST])
def test_a_training_that_began_anew_is_exported(run, select):
    """With the same names and steps, and other content."""
    for step in (1, 2):
        run.write(step)
    assert run.watch(once=True, select=LATEST) == 0
    run.write(1, seconds=2000, content=5)
    write_state(run.run, "m-1")
    assert run.watch(once=True, select=select) == 0
    assert run.tried == [["m-2"], ["m-1"]]


def test_a_refused_checkpoint_is_told_once(run):
    """And not tried again; the next one is. The exit code of --once is that of export."""
    run.write(1)
    run.failures["m-1"] = [failure(REFUSED, NotAccurate("the text is worse"))] * 5
    assert run.watch(once=True) == 3
    thread = threading.Timer(0.6, lambda: run.write(2))
    thread.start()
    assert run.watch(until_step=2) == 0
    assert run.tried == [["m-1"], ["m-1"], ["m-2"]]  # once in each process
    (first, second) = run.told("refused")
    assert first.content["error"] == {"message": "the text is worse", "exit_code": 3}
    assert first.content["checkpoint"].endswith("m-1") and second.text == "m-1: the text is worse"


def test_other_failures_are_tried_again_with_pauses_that_grow(run):
    """As a full disk; a checkpoint for which the process crashes is given up after the third time."""
    run.write(1)
    run.failures["m-1"] = [failure(TRANSIENT, WriteError("full"))] * 4
    start = time.monotonic()
    assert run.watch(until_step=1) == 0
    assert time.monotonic() - start >= 0.05 + 0.1 + 0.2 + 0.4
    assert [event.content["retry_in"] for event in run.told("failed")] == pytest.approx([0.05, 0.1, 0.2, 0.4], abs=0.1)
    assert len(run.tried) == 5
    run.events.clear()
    run.write(2)
    run.failures["m-2"] = [failure(CRASHED)] * 4
    assert run.watch(until_step=2) == 0
    assert [event.kind for event in run.events if "checkpoint" in event.content] == ["failed", "failed", "refused"]


def test_once_tries_nothing_again(run):
    """The exit code is 1; and an error of all checkpoints ends every watcher."""
    run.write(1)
    run.failures["m-1"] = [failure(TRANSIENT)]
    assert run.watch(once=True) == 1
    assert run.told("failed")[0].content["retry_in"] is None
    run.failures["m-1"] = [failure(FATAL, UsageError("no such option"))]
    with pytest.raises(UsageError, match="no such option"):
        run.watch()
    assert run.events[-1].content["reason"] == "error" and run.events[-1].content["exit_code"] == 2


def test_a_checkpoint_that_vanishes_is_no_failure(run):
    """Whatever its export said; the one that is there then is exported."""
    run.write(1)
    run.failures["m-1"] = [failure(REFUSED), failure(CRASHED), failure(TRANSIENT)]
    run.during["m-1"] = lambda: (delete(run.run / "m-1"), run.write(2))
    assert run.watch(once=True) == 0
    assert run.tried == [["m-1"], ["m-2"]]
    assert [event.kind for event in run.events if "checkpoint" in event.content] == ["vanished"]
    run.failures["m-3"] = [failure(REFUSED)]
    run.write(3)
    run.during["m-3"] = lambda: run.write(3, seconds=3000, content=8)  # the name is used again
    assert run.watch(once=True) == 0
    assert run.tried[2:] == [["m-3"], ["m-3"]]


def test_what_another_watcher_published_is_skipped(run):
    """It was faster."""
    run.write(1)
    run.failures["m-1"] = [failure(KNOWN, VersionError("version 1 has it"))]
    assert run.watch(once=True) == 0
    assert [event.content["reason"] for event in run.told("skipped")] == ["published"]


def test_a_checkpoint_is_taken_when_it_is_complete(run, made):
    """First without its index, then just written, and then unchanged for a while."""
    run.run.mkdir()
    data = run.run / "m-1.data-00000-of-00001"
    data.write_bytes(made[1].with_name("made-1.data-00000-of-00001").read_bytes()[:3])
    seen = []

    def finish():
        seen.extend(run.tried)
        run.write(1, seconds=time.time())

    threading.Timer(0.3, finish).start()
    assert run.watch(until_step=1) == 0
    assert seen == [] and run.tried == [["m-1"]]


def test_an_incomplete_checkpoint_is_told_once(run, monkeypatch):
    """After a minute, as nobody writes it any more."""
    monkeypatch.setattr(watching, "_INCOMPLETE", 0.1)
    (run.run / "x").mkdir(parents=True)
    run.write(1)
    (run.run / "m-1.data-00000-of-00001").unlink()
    assert run.watch(exit_after_idle=0.5) == 0
    (event,) = run.told("incomplete")
    assert "m-1" in event.text and not run.tried


def test_the_end(run):
    """Idle for a while, even without a directory; with --once that is an error, as of export; or at a signal."""
    start = time.monotonic()
    assert run.watch(exit_after_idle=0.3) == 0
    assert 0.3 <= time.monotonic() - start < 2
    assert run.events[-1].content == {"reason": "idle", "exit_code": 0}
    with pytest.raises(CheckpointError):
        run.watch(once=True)
    run.run.mkdir()
    with pytest.raises(NoCheckpoint):
        run.watch(once=True)
    threading.Timer(0.3, run.stop.request).start()
    assert run.watch(interval=1000) == 0
    assert run.events[-1].content == {"reason": "signal", "exit_code": 0}


def test_the_last_step(run):
    """Also after a restart, when it was handled already."""
    for step in (1, 2):
        run.write(step)
    assert run.watch(until_step=2) == 0
    assert run.watch(until_step=1) == 0
    assert run.tried == [["m-2"]]
    run.write(3)
    run.failures["m-3"] = [failure(REFUSED)]
    assert run.watch(until_step=3) == 0


def test_idle_with_a_failure_is_a_failure(run):
    """It could not be done."""
    run.write(1)
    run.failures["m-1"] = [failure(TRANSIENT)] * 50
    assert run.watch(exit_after_idle=0.3, interval=0.1) == 1


def test_a_failed_prune_does_not_end_it(run):
    """The next version brings the next try."""
    run.write(1)

    def prune(keep):
        raise VersionError(f"can't keep {keep}")

    options = WatchOptions(run.run, run.base, once=True, keep=3)
    assert Watcher(options, run.export, prune, run.events.append, run.stop).run() == 0
    (event,) = run.told("failed")
    assert event.text == "prune: can't keep 3"


def test_what_was_deleted_is_told_before_what_could_not_be(run):
    """A version of another user does not keep the others."""
    run.write(1)

    def prune(keep):
        raise NotDeleted("no", [not_deleted("1", "no")], [run.base / "2"])

    options = WatchOptions(run.run, run.base, once=True, keep=3)
    assert Watcher(options, run.export, prune, run.events.append, run.stop).run() == 0
    pruned, failed = run.events[-3:-1]
    assert (pruned.kind, pruned.content["deleted"]) == ("pruned", [str(run.base / "2")])
    assert (failed.kind, failed.content["problem_details"][0]["code"]) == ("failed", "not-deleted")


def test_memory_does_not_grow(run):
    """What was deleted is forgotten."""
    memory = watching._Memory()
    directory = watching.RunDirectory(run.run)
    for step in range(5):
        prefix = run.write(step)
        scan = directory.scan()
        memory.handled(*memory.choose(scan, {}, ALL)[0])
        assert find_checkpoint(prefix) and len(memory._handled) == len(memory._seen) == 1
        delete(prefix)
