"""Ctrl-C on a terminal: the command ends soon, in words, and leaves nothing half done."""

from __future__ import annotations

import time

from tests.support.hostile_server import answering, body, statuses
from tests.support.terminal import COMMAND, OnTerminal
from tests.support.versions import version_of

MOST_SECONDS = 20  # on a machine that is busy; 1 to 5 are usual


def interrupted(arguments, until):
    """The terminal on which a command was interrupted once a text was printed."""
    terminal = OnTerminal([*COMMAND, *arguments], columns=200)
    assert terminal.wait(until=until) is None
    started = time.monotonic()
    terminal.interrupt()
    assert terminal.wait() == 1 and time.monotonic() - started < MOST_SECONDS
    assert "Traceback" not in terminal.raw
    assert terminal.lines()[-1] == "Aborted!"
    assert terminal.raw.count("\x1b[?25l") == terminal.raw.count("\x1b[?25h")  # the cursor is shown again
    return terminal


def test_an_export_that_is_interrupted_leaves_nothing(tmp_path, crnn_checkpoint):
    """While files are written and compared: the stage is removed."""
    base = tmp_path / "models"
    for until in ("export: starting TensorFlow", "export: comparing with the checkpoint"):
        interrupted(["export", "-m", "crnn", "-c", crnn_checkpoint, "-o", base], until)
        assert not base.exists() or list(base.iterdir()) == []


def test_a_wait_that_is_interrupted_says_that_the_version_is_published(tmp_path):
    """Another run would publish it twice."""
    version_of(tmp_path / "m", 1)
    with answering(body(statuses("2", "LOADING"))) as address:
        terminal = interrupted(["bump-version", tmp_path / "m", "--wait-for", address], "is LOADING")
    said = " ".join(terminal.lines())
    assert f"Warning: {tmp_path / 'm' / '2'} is published; running this again would publish it twice" in said
