"""Parsing of untrusted JSON with limits on its nesting depth, its numbers, and the memory that it takes."""

from __future__ import annotations

import itertools
import json
import re
import sys
from pathlib import Path
from typing import Any, Optional

from ckpt2saved.errors import UsageError
from ckpt2saved.files.reading import TooLarge, read_file

MOST_LEVELS = 100  # nested lists and objects
_MOST_BYTES = 256 << 20

_MOST_DIGITS = 1000  # of one number; Python 3.7.13 and older take hours to read one of millions

# Searched from the first digit of a number only: from each of them, numbers of the allowed length would take minutes.
_LONG_NUMBER = re.compile(f"(?<![0-9])[0-9]{{{_MOST_DIGITS + 1}}}")
_STRING = re.compile(r'"[^"]*(?:"|\Z)')
_NO_BRACKETS = re.compile(r"[^\[\]{}]+")

# Bytes that a character of JSON stands for once it is parsed, at most. A list or an object counts with its first value,
# a quote with half of a string.
_MEMORY_OF = {"[": 144, "{": 250, ":": 64, '"': 64, ",": 42}


class TooMuchMemory(ValueError):
    """The values of a JSON text would take more memory than they may; nothing was parsed."""

    def __init__(self, most: int) -> None:
        super().__init__(f"its values would take more than {most >> 20} MB of memory")


def memory_of(text: str) -> int:
    """Return how many bytes of memory a JSON text and its values take together, at most; it is not parsed."""
    return sys.getsizeof(text) + sum(text.count(character) * size for character, size in _MEMORY_OF.items())


def read_json(text: str, most_memory: Optional[int] = None) -> Any:
    """Parse a JSON text; raises ValueError if it is malformed, more than MOST_LEVELS deep, or has too long a number.

    Raises TooMuchMemory, a ValueError, if the values could take more than `most_memory` bytes. 2 bytes of JSON can
    stand for 80, so that the size of a text is no limit for the memory.

    The depth is checked beforehand: up to Python 3.8 the parser may end the process with "Cannot recover from stack
    overflow" instead of raising RecursionError.
    """
    if most_memory is not None and memory_of(text) > most_memory:
        raise TooMuchMemory(most_memory)
    if text.count("[") + text.count("{") > MOST_LEVELS:
        brackets = _NO_BRACKETS.sub("", _without_strings(text))
        levels = itertools.accumulate(1 if bracket in "[{" else -1 for bracket in brackets)
        if max(levels, default=0) > MOST_LEVELS:
            raise ValueError(f"lists and objects are nested more than {MOST_LEVELS} deep")
    if _LONG_NUMBER.search(text) and _LONG_NUMBER.search(_without_strings(text)):
        raise ValueError(f"a number of more than {_MOST_DIGITS} digits")
    return json.loads(text)


def _without_strings(text: str) -> str:
    """Return a JSON text without its strings, whose brackets and digits count for nothing.

    Escapes go first: a pattern for them would remember each, and look anew from each in a string that is not closed.
    """
    return _STRING.sub("", text.replace("\\\\", "").replace('\\"', ""))


def read_json_file(path: Path, where: str, remedy: str) -> Any:
    """Read the JSON file that an option names; raises UsageError, with `where` as subject, for one that can't be read.

    `remedy` says what was expected, or what to do.
    """
    try:
        return read_json(read_file(path, _MOST_BYTES).decode("utf-8"))
    except TooLarge as error:
        raise UsageError(f"{where}: the file is larger than {_MOST_BYTES >> 20} MB; {remedy}") from error
    except OSError as error:
        raise UsageError(f"{where}: it cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise UsageError(f"{where}: it is no JSON: {error}; {remedy}") from error
