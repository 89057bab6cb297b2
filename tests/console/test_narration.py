"""Narration on a terminal: wrapped at words, with the step that runs; and plain lines elsewhere."""

from __future__ import annotations

import sys

import pytest

from tests.support.command_line import python
from tests.support.terminal import OnTerminal

TEXT = "detector/a-name-of-a-tensor:0, detector/another-name-of-a-tensor:0 and the_third_one: all are as expected"
STEPS = f"""
import time
from ckpt2saved.console.narration import narration
with narration("export", quiet=False) as say:
    say("note", {TEXT!r})
    say.begin("comparing with the checkpoint")
    time.sleep(1.5)
    say("parity", "[bold]2[/bold] answers")
"""


def test_lines_are_broken_at_words_on_a_terminal():
    """Under a hanging indent; with the step that runs and its time, which are gone at the end."""
    terminal = OnTerminal([sys.executable, "-c", STEPS])
    assert terminal.wait() == 0
    assert terminal.lines() == [
        "note        detector/a-name-of-a-tensor:0, detector/another-name-of-a-tensor:0",
        "            and the_third_one: all are as expected",
        "parity      [bold]2[/bold] answers",
    ]
    assert "export: comparing with the checkpoint  1 s" in terminal.raw


@pytest.mark.parametrize(
    "variables", [{"JPY_PARENT_PID": "1", "FORCE_COLOR": "1"}, {"TERM": "dumb"}], ids=["notebook", "dumb terminal"]
)
def test_no_cursor_is_moved_where_that_is_not_understood(variables):
    """A notebook shows what is printed as a file; a dumb terminal has lines alone."""
    terminal = OnTerminal([sys.executable, "-c", STEPS], **variables)
    assert terminal.wait() == 0
    assert "\x1b" not in terminal.raw and "\r" not in terminal.raw.replace("\r\n", "\n")
    assert "comparing" not in terminal.raw
    assert terminal.lines()[-1] == "parity      [bold]2[/bold] answers"


@pytest.mark.parametrize("variables", [{}, {"FORCE_COLOR": "1", "COLUMNS": "40"}])
def test_a_log_has_a_line_for_each_step(variables):
    """However long, and without the steps that run."""
    done = python(f"import os\nos.environ.update({variables!r})\n{STEPS}")
    assert done.stdout == f"note        {TEXT}\nparity      [bold]2[/bold] answers\n"


def test_a_terminal_without_unicode_has_a_spinner_of_ascii():
    """Others would be shown as their codes."""
    terminal = OnTerminal([sys.executable, "-c", STEPS], PYTHONIOENCODING="ascii:backslashreplace")
    assert terminal.wait() == 0 and "\\u" not in terminal.raw
    assert "export: comparing with the checkpoint  1 s" in terminal.raw


def test_a_labelled_paragraph_is_broken_at_words():
    """Under its first line, and names of variables stay whole."""
    name = "stack_bidirectional_rnn/cell_0/bidirectional_rnn/Tensordot/free_and_more"
    code = (
        "from ckpt2saved.console.tables import print_labelled, stdout\n"
        f"print_labelled(stdout(), 'fixed', 'the batch is 2 and cannot be another: {name}, logits')"
    )
    terminal = OnTerminal([sys.executable, "-c", code])
    assert terminal.wait() == 0
    assert terminal.lines() == [
        "fixed      the batch is 2 and cannot be another:",
        " " * (80 - len(name) - 1) + name + ",",
        "           logits",
    ]
    assert python(code).stdout == f"fixed      the batch is 2 and cannot be another:\n           {name}, logits\n"


def test_colours_can_be_switched_off():
    """NO_COLOR: words alone, bold ones included."""
    terminal = OnTerminal([sys.executable, "-c", STEPS], NO_COLOR="1")
    assert terminal.wait() == 0 and "\x1b[3" not in terminal.raw
