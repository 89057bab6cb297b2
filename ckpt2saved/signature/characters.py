"""Character files: the character of each class id, one a line."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Tuple

from ckpt2saved.files.reading import open_file

_MOST_BYTES = 16 << 20
_MOST_LISTED = 5


class NoCharacters(Exception):
    """The file is not a character file; the message gives the reason without the file's name."""


def read_characters(path: Path) -> Tuple[str, ...]:
    """Return the character of each id, "" for an empty line, which is an id without a character.

    A line is one character, or several that the network reads as one; line 1 is id 0, and the blank has no line. Raises
    NoCharacters.
    """
    try:
        with open_file(path) as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise NoCharacters(f"can't be read: {error.strerror}") from error
    if len(content) > _MOST_BYTES:
        raise NoCharacters(f"more than {_MOST_BYTES >> 20} MB; expected a character on each line")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise NoCharacters(
            f"line {line} is not UTF-8 (byte 0x{error.object[error.start]:02x}); convert the file to UTF-8"
        ) from error
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    symbols = [line[:-1] if line.endswith("\r") else line for line in lines]
    if not any(symbols):
        raise NoCharacters("the file is empty; expected a character on each line")
    _refuse_duplicates(symbols)
    return tuple(symbols)


def _refuse_duplicates(symbols: List[str]) -> None:
    places: Dict[str, List[int]] = {}
    for number, symbol in enumerate(symbols, start=1):
        if symbol:
            places.setdefault(symbol, []).append(number)
    twice = [f"{symbol!r} on lines {', '.join(map(str, at))}" for symbol, at in places.items() if len(at) > 1]
    if twice:
        more = f" and {len(twice) - _MOST_LISTED} more" if len(twice) > _MOST_LISTED else ""
        raise NoCharacters(
            f"characters are given twice: {'; '.join(twice[:_MOST_LISTED])}{more}; expected each character once: leave"
            " the line of an id without a character empty"
        )
