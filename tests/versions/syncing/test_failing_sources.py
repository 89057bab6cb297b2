"""A source whose disk fails is no source without a graph."""

from __future__ import annotations

import errno
import os

from ckpt2saved.versions.syncing import sources
from tests.support.syncs import Sync
from tests.support.versions import make_version


def test_a_version_that_cannot_be_looked_at_is_a_failure_and_not_incomplete(tmp_path, monkeypatch):
    """An older version must not be pulled for it, and the exit code of --once must not say that all is well."""
    make_version(tmp_path / "remote", "1")
    make_version(tmp_path / "remote", "2")
    sync = Sync(tmp_path / "local", tmp_path / "remote")

    def fail(path):
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(sources, "_is_file", fail)
        assert sync.round() == (False, ["failed"])
    assert sync.local() == []
    is_current, _ = sync.round()
    assert is_current and sync.local() == ["2"]
