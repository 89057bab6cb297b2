"""No code runs that was not asked for: programs are not taken from the working directory, nor are Python's modules."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ckpt2saved.files.programs import find_program, python_command

ROOT = str(Path(__file__).resolve().parents[2])
NAMES = "tempfile click rich yaml json signal contextlib2 logging socket string _bootlocale tensorflow numpy".split()


@pytest.fixture
def trap(tmp_path):
    """A directory full of files that note it when they are run."""
    noted = tmp_path / "noted"
    (tmp_path / "trap").mkdir()
    for name in NAMES:
        text = f"open({str(noted)!r}, 'a').write(__name__ + ' ')\nraise ImportError\n"
        (tmp_path / "trap" / (name + ".py")).write_text(text)
    for name in ("git", "nvidia-smi", "docker"):
        path = tmp_path / "trap" / name
        path.write_text(f"#!/bin/sh\necho {name} >> {noted}\n")
        path.chmod(0o755)
    yield tmp_path / "trap"
    assert not noted.exists(), noted.read_text()


def ran(command, folder, **environment):
    done = subprocess.run(
        command, cwd=str(folder), env=dict(os.environ, **environment), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    return done.returncode, done.stdout.decode()


def test_python_with_a_module_of_ours_leaves_the_working_directory_alone(trap):
    """Its own package is found where this process found it, without the environment's help."""
    code, output = ran(python_command("ckpt2saved.cli", "--version"), trap, PYTHONPATH="")
    assert code == 0 and "ckpt2saved" in output, output


def test_python_m_does_not_take_the_working_directory_for_the_standard_library(trap, tmp_path):
    """As `python -m ckpt2saved` would."""
    code, output = ran([sys.executable, "-m", "ckpt2saved", "list", str(tmp_path / "absent")], trap, PYTHONPATH=ROOT)
    assert code == 1 and "absent" in output, output


def test_python_m_in_a_checkout(tmp_path):
    """Where the working directory is the only place that has the package."""
    (tmp_path / "ckpt2saved").symlink_to(Path(ROOT) / "ckpt2saved")
    code, output = ran([sys.executable, "-m", "ckpt2saved", "list", str(tmp_path / "absent")], tmp_path)
    assert code == 1 and "absent" in output, output


@pytest.mark.parametrize("path", [".", "", ":/nowhere", "./trap", "trap/../."])
def test_programs_of_the_working_directory_are_not_run(trap, monkeypatch, path):
    """Whatever relative directory the PATH has."""
    monkeypatch.chdir(trap)
    monkeypatch.setenv("PATH", path)
    assert find_program("git") is None
    monkeypatch.setenv("PATH", f"{path}:{trap}")
    assert find_program("git") == str(trap / "git")


def test_doctor_with_a_dot_on_the_path(trap):
    """It asks nvidia-smi."""
    path = ".:" + os.environ["PATH"]
    code, output = ran(python_command("ckpt2saved.cli", "doctor"), trap, PATH=path)
    assert code in (0, 3) and "Traceback" not in output, output
