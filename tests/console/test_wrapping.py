"""Lines for a terminal are broken at spaces."""

from __future__ import annotations

import io

import pytest

from ckpt2saved.console.wrapping import columns, is_terminal, wrapped


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("as short as it is", 40, "as short as it is"),
        # At spaces, below the first column of the text.
        ("one two three four five six seven", 40, "one two three four five six\n            seven"),
        # As wide as the terminal, and one more.
        ("123456789 123456789012345678", 40, "123456789 123456789012345678"),
        ("123456789 1234567890123456789", 40, "123456789\n            1234567890123456789"),
        # A name that fits a line of its own is not broken, and has what indent is left.
        ("a " + "n" * 38, 40, "a\n  " + "n" * 38),
        ("n" * 38 + " a", 40, "\n  " + "n" * 38 + "\n            a"),
        # A longer one the terminal breaks, here after 28 columns: it can be copied as one.
        ("n" * 50 + " b c", 40, "n" * 50 + " b c"),
        ("a " + "n" * 50 + " " + "b" * 15 + " c", 40, "a " + "n" * 50 + " " + "b" * 15 + "\n            c"),
        ("a " + "n" * 50 + " " + "b" * 16, 40, "a " + "n" * 50 + "\n            " + "b" * 16),
        # Wide characters take two columns, accents none.
        ("中文中文中文 中文中文中文 e\u0301e\u0301", 40, "中文中文中文 中文中文中文 e\u0301e\u0301"),
        ("中文中文中文 中文中文中文 eee", 40, "中文中文中文 中文中文中文\n            eee"),
        ("two  spaces", 40, "two  spaces"),
    ],
)
def test_words_are_kept_whole(text, width, shown):
    """Every line fits, but for a word that is wider than the terminal."""
    found = wrapped(text, width, 12, 12)
    assert found == shown
    for line in found.split("\n")[1:]:
        assert columns(line) <= width or len(line.split()) == 1


def test_a_narrow_terminal_has_a_small_indent():
    """Of 34 columns, 12 would be too much."""
    assert wrapped("one two three four five six", 34, 12, 12) == "one two three four\n  five six"


def test_a_terminal_is_none_in_a_notebook_and_none_when_closed():
    """Its kernel runs commands on a pseudo-terminal, and does not move a cursor."""

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    closed = io.StringIO()
    closed.close()
    assert is_terminal(Terminal(), {}) and not is_terminal(Terminal(), {"JPY_PARENT_PID": "1"})
    assert not any(is_terminal(stream, {}) for stream in (io.StringIO(), closed, None))
