"""Text that others wrote, made fit to be shown: no control characters, no commands of CI systems, of bounded length."""

from __future__ import annotations

import re
import unicodedata

MOST_CHARACTERS = 2000  # of one text; the longest messages of TensorFlow that say something are shorter
_TAIL = 500  # of them from the end, where TensorFlow often says the reason

# GitHub takes `::name …::` at the start of a line for a command; `##[name]`, `##vso[name` and `##teamcity[` are
# commands of Azure Pipelines, of GitHub and of TeamCity wherever they stand.
_GITHUB = re.compile(r"(?<![\w>:])::(?=[A-Za-z])")
_ANYWHERE = re.compile(r"##(?=\w*\[)")


def one_line(text: str, most: int = MOST_CHARACTERS) -> str:
    """`text` on one line: what lies in its middle is left out where it has more than `most` characters."""
    if len(text) > 4 * most:  # before anything is done with all of it
        text = _shortened(text, 4 * most)
    return _shortened(harmless(" ".join(text.split())), most)


def harmless(text: str) -> str:
    """`text` with its lines as they are, and in them neither control characters nor what a CI system takes for orders.

    Characters that change a terminal's state or the order of what is read are shown as question marks.
    """
    shown = "".join(c if c == "\n" or c.isprintable() else " " if c.isspace() else "?" for c in text)
    return _ANYWHERE.sub("# #", _GITHUB.sub(": :", shown))


def is_plain(text: str) -> bool:
    """Whether it has no control characters, line breaks among them, and no bytes that are no UTF-8."""
    return not any(unicodedata.category(character) in ("Cc", "Cs") for character in text)


def _shortened(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    tail = min(_TAIL, most // 4)
    left_out = len(text) - most
    return f"{text[: most - tail]}… ({left_out} characters left out) …{text[len(text) - tail :]}"
