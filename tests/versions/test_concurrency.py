"""Several processes that publish, prune and are killed."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

from ckpt2saved.files import replacing
from ckpt2saved.versions import (
    numbered_children,
    prune_versions,
    stage,
    staged,
)
from ckpt2saved.versions.health import health
from tests.support.versions import (
    ROOT,
    fill,
    is_locked,
    make_version,
    names,
    publish,
)

PRELUDE = """
import os, sys
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.support.versions import fill, publish, staged
base = Path({base!r})
"""


def start(base, code):
    """Run the code in a process of its own, with pipes to talk through."""
    text = PRELUDE.format(root=str(ROOT), base=str(base)) + textwrap.dedent(code)
    return subprocess.Popen(
        [sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, universal_newlines=True
    )


HOLD = """
    with staged(base) as staging:
        fill(staging.path)
        print(staging.path, flush=True)
        sys.stdin.readline()
        print(staging.publish(), flush=True)
"""


def test_concurrent_exporters_get_consecutive_numbers(base):
    """Eight processes, five versions each, started together: forty numbers and nothing else."""
    processes = [
        start(
            base,
            """
            print("ready", flush=True)
            sys.stdin.readline()
            for _ in range(5):
                print(publish(base).name, flush=True)
            """,
        )
        for _ in range(8)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate()[0].split() for process in processes]

    assert [process.returncode for process in processes] == [0] * 8
    assert all(mine == sorted(mine, key=int) for mine in answers)
    assert sorted(int(name) for mine in answers for name in mine) == list(range(1, 41))
    assert sorted(names(base), key=int) == [str(number) for number in range(1, 41)]
    assert all(health(base / name).problems == () for name in names(base))


def test_concurrent_exporters_may_fail_around_each_other(tmp_path):
    """Who fails takes the directories away that it created, and nobody else's; who succeeds is not disturbed."""
    base = tmp_path / "models" / "crnn"
    failing = """
        print("ready", flush=True)
        sys.stdin.readline()
        for _ in range(40):
            try:
                with staged(base) as staging:
                    raise RuntimeError
            except RuntimeError:
                pass
    """
    processes = [start(base, failing) for _ in range(4)]
    for process in processes:
        process.stdout.readline()
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate()

    assert [process.returncode for process in processes] == [0] * 4
    assert not base.exists() or names(base) == []
    publish(base)
    assert names(base) == ["1"]


def test_a_base_that_was_made_anew_while_waiting_is_locked_itself(base, monkeypatch):
    """Who held it may have failed and removed it; the lock on what is gone keeps nobody out."""
    base.mkdir()
    real, calls = fcntl.flock, []

    def flock(descriptor, operation):
        calls.append(operation)
        real(descriptor, operation)
        if len(calls) == 1:
            base.rename(base.parent / "gone")
            base.mkdir()

    monkeypatch.setattr(fcntl, "flock", flock)
    with stage.locked(base):
        assert len(calls) == 2
        assert is_locked(base)
        assert not is_locked(base.parent / "gone")


def test_a_base_is_removed_under_its_lock(tmp_path, monkeypatch):
    """So that nobody is just putting a stage into it."""
    base, real, held = tmp_path / "models" / "crnn", os.rmdir, []

    def rmdir(path, **options):
        if str(path) == str(base):
            held.append(is_locked(base))
        real(path, **options)

    monkeypatch.setattr(os, "rmdir", rmdir)
    with staged(base):
        pass

    assert held == [True]
    assert names(tmp_path) == []


def test_numbers_only_grow_while_somebody_chooses(base, monkeypatch):
    """An exporter that asks for 10 waits for the one that is just taking 1, and the next takes 11, not 2."""
    chosen, go_on = threading.Event(), threading.Event()
    real = stage.rename_new

    def rename_new(source, target):
        if target.name == "1":
            chosen.set()
            assert go_on.wait(60)
        real(source, target)

    monkeypatch.setattr(stage, "rename_new", rename_new)
    slow = threading.Thread(target=publish, args=(base,))
    slow.start()
    try:
        assert chosen.wait(60)
        other = start(base, "publish(base, 10); publish(base)")
        assert is_locked(base)  # so `other` can't have got further than its stage
    finally:
        go_on.set()
        slow.join()
    other.communicate()

    assert other.returncode == 0
    assert sorted(names(base), key=int) == ["1", "10", "11"]


def test_a_killed_exporter_is_cleaned_up_after_and_a_living_one_is_not(base):
    """The next run removes the leftover, while another exporter at work keeps its stage and publishes it."""
    killed, living = start(base, HOLD), start(base, HOLD)
    leftover, at_work = Path(killed.stdout.readline().strip()), Path(living.stdout.readline().strip())
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert leftover.is_dir()
    assert numbered_children(base) == ()

    assert publish(base) == base / "1"
    assert names(base) == sorted(["1", at_work.name])

    out, _ = living.communicate("go\n")
    assert out == f"{base / '2'}\n"
    assert names(base) == ["1", "2"]
    assert health(base / "2").problems == ()


def test_an_exporter_at_work_in_the_same_process_is_left_alone(base):
    """Threads of one service export as well."""
    with staged(base) as first, staged(base) as second:
        fill(first.path)
        fill(second.path)
        assert second.publish() == base / "1"
        assert first.publish() == base / "2"


def test_a_prune_that_was_killed_is_finished(base):
    """By the next export as by the next prune."""
    for finish in (publish, lambda base: prune_versions(base)):
        make_version(base, ".pruned-0123")
        finish(base)
        assert names(base) == ["1"]


def test_the_unfinished_record_of_a_prune_that_was_killed_is_deleted(base, monkeypatch):
    """By the next export as by the next prune; without locks once it is a day old."""
    unfinished = "..ckpt2saved-pruned.json-0123456789abcdef"
    for finish in (publish, lambda base: prune_versions(base)):
        base.mkdir(exist_ok=True)
        (base / unfinished).write_bytes(b"{")
        finish(base)
        assert names(base) == ["1"]

    (base / unfinished).write_bytes(b"{")
    monkeypatch.setattr(replacing, "try_lock", lambda descriptor: None)
    stage.remove_leftovers(base)
    assert names(base) == [unfinished, "1"]
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 25 * 3600)
    stage.remove_leftovers(base)
    assert names(base) == ["1"]


def test_only_directories_of_our_own_are_cleaned_away(base):
    """Not a file, a link or anybody else's hidden directory."""
    make_version(base, ".staging")
    make_version(base, ".git")
    (base / ".staging-note").write_bytes(b"")
    (base / ".staging-link").symlink_to(".git")
    publish(base)

    assert names(base) == [".git", ".staging", ".staging-link", ".staging-note", "1"]
    assert names(base / ".git") == ["saved_model.pb", "variables"]


def test_without_locks_only_what_is_a_day_old_is_cleaned_away(base, no_flock, monkeypatch):
    """Nobody can tell then whether its process lives, and the clock is all there is."""
    make_version(base, ".staging-0123")
    assert publish(base) == base / "1"
    assert names(base) == [".staging-0123", "1"]

    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 23 * 3600)
    publish(base)
    assert ".staging-0123" in names(base)

    monkeypatch.setattr(time, "time", lambda: now + 25 * 3600)
    publish(base)
    assert names(base) == ["1", "2", "3"]
