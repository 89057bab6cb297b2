"""A base directory stands for its newest version that a server would load."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ckpt2saved.errors import VersionError
from ckpt2saved.versions import find_complete_version, find_version
from tests.support.versions import make_broken, make_version


def test_the_newest_complete_version(tmp_path):
    """Newer ones are named with what is wrong with them; a version itself is taken as it is."""
    make_version(tmp_path, "9")
    make_version(tmp_path, "10")
    make_broken(tmp_path, "11")
    make_broken(tmp_path, "12")
    said = []
    found = find_complete_version(tmp_path, lambda step, text: said.append((step, text)))
    assert found == tmp_path / "10"
    assert [step for step, _ in said] == ["skipped", "skipped"]
    assert said[0][1].startswith(f"{tmp_path / '12'}: saved_model.pb")
    assert find_complete_version(tmp_path / "9") == tmp_path / "9"
    assert find_complete_version(tmp_path / "11") == tmp_path / "11"


def test_no_complete_version(tmp_path):
    """Each is named."""
    make_broken(tmp_path, "1")
    make_broken(tmp_path, "2")
    with pytest.raises(VersionError, match="no version is complete") as caught:
        find_complete_version(tmp_path)
    assert [problem.where for problem in caught.value.problems] == [str(tmp_path / "2"), str(tmp_path / "1")]
    with pytest.raises(VersionError, match="there is no such directory"):
        find_complete_version(tmp_path / "nowhere")


def test_a_directory_that_cannot_be_looked_at_is_said_so(tmp_path, monkeypatch):
    """That of another user, or of a disk that fails."""

    def fail(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "is_file", fail)
    with pytest.raises(VersionError, match=f"{tmp_path}: could not look for a version: Permission denied"):
        find_version(tmp_path)
