"""Sanitizing of untrusted text: control characters and CI commands are removed, and the length is limited."""

from __future__ import annotations

import re
import unicodedata

MOST_CHARACTERS = 2000  # longer than any useful message of TensorFlow
_TAIL = 500  # kept at the end, where TensorFlow often gives the reason

# GitHub takes `::name …::` at the start of a line for a command; `##[name]`, `##vso[name` and `##teamcity[` are
# commands of Azure Pipelines, of GitHub and of TeamCity wherever they stand.
_GITHUB = re.compile(r"(?<![\w>:])::(?=[A-Za-z])")
_NO_FIELD = ("Cc", "Cs", "Zl", "Zp")  # control characters, lone surrogates, separators of lines and paragraphs
_ANYWHERE = re.compile(r"##(?=\w*\[)")


def one_line(text: str, most: int = MOST_CHARACTERS) -> str:
    """Return `text` as one line; if longer than `most` characters, its middle is left out."""
    if len(text) > 4 * most:  # before the slower steps
        text = _shortened(text, 4 * most)
    return _shortened(terminal_safe(" ".join(text.split())), most)


def terminal_safe(text: str) -> str:
    """Return `text` with its line breaks, but without control characters and CI commands.

    Characters that change a terminal's state or the reading order are replaced by question marks.
    """
    shown = "".join(c if c == "\n" or c.isprintable() else " " if c.isspace() else "?" for c in text)
    return _ANYWHERE.sub("# #", _GITHUB.sub(": :", shown))


def as_field(text: str) -> str:
    """Return `text` as one field of a line between tabs: tabs, line breaks and control characters are escaped.

    Everything else is as it was, also what does not print, such as an ideographic space.
    """
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if unicodedata.category(character) in _NO_FIELD
        else character
        for character in text
    )


def is_plain(text: str) -> bool:
    """Return whether the text has no control characters or line breaks, and is valid UTF-8."""
    return not any(unicodedata.category(character) in ("Cc", "Cs") for character in text)


def _shortened(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    tail = min(_TAIL, most // 4)
    left_out = len(text) - most
    return f"{text[: most - tail]}… ({left_out} characters left out) …{text[len(text) - tail :]}"
