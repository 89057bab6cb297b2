"""Files are replaced as a whole, and nothing is left beside them, whatever ends the process."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys

import pytest

from ckpt2saved.files import replacing
from ckpt2saved.files.replacing import replace_file

_KILLED = """
import os, signal, sys
from pathlib import Path
from ckpt2saved.files.replacing import replace_file
os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
replace_file(Path(sys.argv[1]), b"half")
"""
LEFT = ".models.config-0123456789abcdef"


@pytest.fixture
def path(tmp_path):
    """A file that is there already."""
    (tmp_path / "models.config").write_bytes(b"old")
    return tmp_path / "models.config"


def test_what_a_killed_process_left_is_removed_by_the_next(path):
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, str(path)], env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    )
    assert done.returncode == -signal.SIGKILL
    (left,) = (name for name in os.listdir(str(path.parent)) if name != path.name)
    assert replacing._RANDOM.match(left[len(".models.config-") :]) and path.read_bytes() == b"old"
    replace_file(path, b"new")
    assert os.listdir(str(path.parent)) == [path.name] and path.read_bytes() == b"new"


@pytest.mark.parametrize("step", ["open", "fsync", "chmod", "replace"])
def test_a_signal_leaves_nothing(path, monkeypatch, step):
    """Just behind a step, the creation of the file included; SIGTERM and SIGINT raise KeyboardInterrupt."""
    real = getattr(os, step)

    def interrupted(*arguments, **options):
        real(*arguments, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, step, interrupted)
        with pytest.raises(KeyboardInterrupt):
            replace_file(path, b"new")
    assert os.listdir(str(path.parent)) == [path.name]
    assert path.read_bytes() == (b"new" if step == "replace" else b"old")


def test_a_file_that_is_being_written_stays(path):
    """Its process holds its lock."""
    with (path.parent / LEFT).open("wb") as file:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        replace_file(path, b"new")
        assert sorted(os.listdir(str(path.parent))) == [LEFT, path.name]
    replace_file(path, b"newer")
    assert os.listdir(str(path.parent)) == [path.name]


def test_only_unfinished_files_of_the_same_name_are_removed(path):
    """Somebody's own copies stay, and links and directories."""
    others = [".models.config-original", ".models.config-0123456789abcdef.bak", ".models.conf-0123456789abcdef"]
    for name in others:
        (path.parent / name).write_bytes(b"")
    (path.parent / LEFT).symlink_to("models.config")
    (path.parent / LEFT.replace("0", "1")).mkdir()
    replace_file(path, b"new")
    assert len(os.listdir(str(path.parent))) == len(others) + 3


@pytest.mark.parametrize("is_locked_by_other", [False, True])
def test_another_process_may_look_before_the_file_is_locked(path, monkeypatch, is_locked_by_other):
    """It takes the file for left, and deletes it, or has just locked it for that: another one is written."""
    tried, lock = [], replacing.try_lock

    def late(descriptor):
        tried.append(descriptor)
        if len(tried) > 1:
            return lock(descriptor)
        for name in os.listdir(str(path.parent)):
            if name != path.name and not is_locked_by_other:
                (path.parent / name).unlink()
        return not is_locked_by_other

    monkeypatch.setattr(replacing, "try_lock", late)
    replace_file(path, b"new")
    assert len(tried) == 2 and os.listdir(str(path.parent)) == [path.name] and path.read_bytes() == b"new"
