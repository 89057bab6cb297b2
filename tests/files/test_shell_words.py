"""Paths in commands that a message names."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from ckpt2saved.files.shell_words import for_shell
from tests.support.command_line import call
from tests.support.versions import version_of


@pytest.mark.parametrize("path", ["models/crnn", "my models/1", "it's", "$HOME", ""])
def test_a_shell_reads_the_path(path):
    """As it is; one without special characters has no quotes."""
    assert shlex.split(for_shell(path)) == [path]
    assert for_shell(Path("models/crnn")) == "models/crnn"


def test_a_command_for_a_directory_with_spaces_can_be_copied(tmp_path):
    """A version in the place of a checkpoint is taken in by the command that the message names."""
    version = version_of(tmp_path / "my models", 1)
    done = call("export", "-m", "crnn", "-c", version, "-o", tmp_path / "x")
    named = done.stdout.partition("ckpt2saved bump-version BASE --from ")[2].partition(";")[0]
    assert shlex.split(named) == [str(version)]
