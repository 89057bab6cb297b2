"""Version directories, small and without TensorFlow."""

from __future__ import annotations

import datetime
import errno
import fcntl
import json
import os
import shutil
import stat
from pathlib import Path

from ckpt2saved.versions import PROVENANCE, staged
from ckpt2saved.versions.content import content_sha256

ROOT = Path(__file__).resolve().parents[2]


# A SavedModel of TensorFlow 1.14: x [?, 2] times a variable [2, 3]; and the same with a constant.
SAVED, FROZEN = ROOT / "tests" / "saved_models" / "variable", ROOT / "tests" / "saved_models" / "frozen"


GRAPH, FROZEN_GRAPH = ((directory / "saved_model.pb").read_bytes() for directory in (SAVED, FROZEN))


INDEX = (SAVED / "variables" / "variables.index").read_bytes()


VALUES = (SAVED / "variables" / "variables.data-00000-of-00001").read_bytes()


def version_of(base, number):
    """A whole version, small, without TensorFlow."""
    return Path(shutil.copytree(str(ROOT / "tests" / "saved_models" / "frozen"), str(base / str(number))))


def fill(directory, *, provenance=None, more=0):
    """Write a SavedModel into an existing directory, with `more` bytes of data that no variable has."""
    (directory / "variables").mkdir()
    (directory / "saved_model.pb").write_bytes(GRAPH)
    (directory / "variables" / "variables.index").write_bytes(INDEX)
    (directory / "variables" / "variables.data-00000-of-00001").write_bytes(VALUES + b"w" * more)
    if provenance is not None:
        (directory / PROVENANCE).parent.mkdir()
        (directory / PROVENANCE).write_text(json.dumps(provenance), encoding="utf-8")


def make_version(base, name, *, provenance=None):
    """A whole version as somebody else's tool would have left it, with modes that any server can read."""
    directory = base / name
    directory.mkdir(parents=True)
    fill(directory, provenance=provenance)
    open_to_all(directory)
    return directory


def open_to_all(directory):
    for path in [directory] + list(directory.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def publish(base, requested=None, *, provenance=None):
    with staged(base, requested) as staging:
        fill(staging.path, provenance={"format": 1} if provenance is None else provenance)
        return staging.publish()


def publish_recorded(base, requested=None, *, more=0):
    """A version with its content_sha256, as an export records it; `more` bytes make its content another one."""
    with staged(base, requested) as staging:
        fill(staging.path, more=more, provenance={})
        record = {"format": 1, "content_sha256": content_sha256(staging.path)}
        (staging.path / PROVENANCE).write_text(json.dumps(record), encoding="utf-8")
        return staging.publish()


def names(directory):
    return sorted(os.listdir(str(directory)))


def record_content(version):
    """Let a version record the files that it has now, as if they had been published."""
    path = version / PROVENANCE
    record = json.loads(path.read_text(encoding="utf-8"))
    record["content_sha256"] = content_sha256(version)
    path.write_text(json.dumps(record), encoding="utf-8")


WHOLE_SIZE = len(GRAPH + INDEX + VALUES)


NOW = datetime.datetime(2024, 5, 6, 7, 8, 9, tzinfo=datetime.timezone.utc)


def make_broken(base, name):
    directory = make_version(base, name)
    (directory / "saved_model.pb").unlink()
    return directory


def mode(path):
    return stat.S_IMODE(os.stat(str(path)).st_mode)


class as_nobody:
    """Do the block with the rights of an ordinary user."""

    def __enter__(self):
        os.setegid(65534)
        os.seteuid(65534)

    def __exit__(self, *error):
        os.seteuid(0)
        os.setegid(0)


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


PUBLISHED = {"format": 1, "checkpoint": {"name": "crnn-100000", "step": 100000}}


def is_locked(directory):
    """Whether somebody, this process included, holds the lock of the directory."""
    descriptor = os.open(str(directory), os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
