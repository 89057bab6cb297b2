"""The base directories, and the process that forks the commands, for all tests of faults."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.faults.interposer import compiled
from tests.faults.launcher import Launcher
from tests.faults.operations import Lab


@pytest.fixture(scope="session")
def lab():
    """On a file system in memory if there is one: fsync is traced, and costs no time."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    directory = Path(tempfile.mkdtemp(dir=memory))  # not tmp_path: pytest keeps that from other users
    directory.chmod(0o755)
    try:
        with Launcher(compiled(directory)) as launcher:
            yield Lab(directory, launcher)
    finally:
        shutil.rmtree(str(directory))


@pytest.fixture(scope="session")
def lab_of_calls(lab):
    if lab.launcher.library is None:
        pytest.skip("calls are traced and made to fail by a library that a C compiler makes; none is there")
    return lab
