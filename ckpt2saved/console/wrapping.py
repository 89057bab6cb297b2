"""Lines for a terminal: broken at spaces, with the further ones under the first."""

from __future__ import annotations

import os
import sys
import unicodedata
from typing import Any, List, Mapping

_LEAST_COLUMNS = 24  # of text beside an indent; on a narrower terminal the indent is smaller
_SMALL_INDENT = 2


def wrapped(text: str, width: int, indent: int, first: int) -> str:
    """Return `text` broken at spaces into lines of `width` columns, the further ones after `indent` spaces.

    The first line begins at the column `first`. A word is never broken: one that is wider than a line with its indent
    gets a line with as much indent as leaves room for it. One that is wider than the terminal is left to the terminal,
    which lets people copy it as one.
    """
    if width - indent < _LEAST_COLUMNS:
        indent = _SMALL_INDENT
    lines: List[str] = []
    line, used, is_empty = "", first, True
    for word in text.split(" "):
        wide = columns(word)
        needed = wide if is_empty else 1 + wide
        if used + needed > width >= wide:
            lines.append(line)
            used = min(indent, width - wide)
            line, is_empty, needed = " " * used, True, wide
        line, used, is_empty = line + ("" if is_empty else " ") + word, used + needed, False
        if wide > width:
            used %= width  # the terminal breaks it
    return "\n".join([*lines, line])


def wrapped_line(line: str, width: int, more: int = 0) -> str:
    """Return a line broken into lines of `width` columns, the further ones with its indent and `more` spaces."""
    start = len(line) - len(line.lstrip(" "))
    return " " * start + wrapped(line[start:], width, start + more, start)


def columns(text: str) -> int:
    """Return how many columns of a terminal the text takes."""
    wide = sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
    return wide - sum(1 for character in text if unicodedata.combining(character))


def is_terminal(stream: Any, environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether a person reads the stream on a terminal whose lines can be rewritten.

    The kernel of a notebook runs commands on a pseudo-terminal, and shows what they print as a file.
    """
    try:
        is_tty = bool(stream.isatty())
    except (AttributeError, ValueError, OSError):  # no stream, or closed
        return False
    return is_tty and "JPY_PARENT_PID" not in environment


def width_of_terminal() -> int:
    """Return the columns of the terminal that stderr is, as COLUMNS overrides them."""
    asked = os.environ.get("COLUMNS", "")
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except (OSError, ValueError, AttributeError):
        return 80
