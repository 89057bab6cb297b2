"""What the tests of version directories share."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from ckpt2saved.versions import rename


@pytest.fixture
def no_flock(monkeypatch):
    """A file system that has no locks, as some NFS."""

    def refuse(descriptor, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.fixture
def nobodys(request):
    """A directory that only root may write to, entered as a user who is not root."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user; run as root to test what others may not do")
    directory = Path(tempfile.mkdtemp())  # not tmp_path: pytest keeps that from other users
    directory.chmod(0o755)
    request.addfinalizer(lambda: shutil.rmtree(str(directory)))
    return directory


@pytest.fixture(params=["kernel", "fallback"])
def either_rename(request, monkeypatch):
    """Both ways to rename: the kernel's own, and the one for systems that lack it."""
    if request.param == "fallback":
        monkeypatch.setattr(rename, "rename_exclusively", lambda source, target: False)
    return request.param


@pytest.fixture
def base(tmp_path):
    return tmp_path / "crnn"
