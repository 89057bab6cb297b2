"""Parsing of untrusted JSON with a limit on its nesting depth."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

from ckpt2saved.errors import UsageError
from ckpt2saved.files.reading import TooLarge, read_file

MOST_LEVELS = 100  # nested lists and objects
_MOST_BYTES = 256 << 20

_MOST_DIGITS = 1000  # of one number; Python 3.7.13 and older take hours to read one of millions

_LONG_NUMBER = re.compile(f"[0-9]{{{_MOST_DIGITS + 1}}}")
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NO_BRACKETS = re.compile(r"[^\[\]{}]+")


def read_json(text: str) -> Any:
    """Parse a JSON text; raises ValueError if it is malformed, more than MOST_LEVELS deep, or has too long a number.

    The depth is checked beforehand: up to Python 3.8 the parser may end the process with "Cannot recover from stack
    overflow" instead of raising RecursionError.
    """
    if text.count("[") + text.count("{") > MOST_LEVELS:
        brackets = _NO_BRACKETS.sub("", _STRING.sub("", text))
        levels = itertools.accumulate(1 if bracket in "[{" else -1 for bracket in brackets)
        if max(levels, default=0) > MOST_LEVELS:
            raise ValueError(f"lists and objects are nested more than {MOST_LEVELS} deep")
    if _LONG_NUMBER.search(text) and _LONG_NUMBER.search(_STRING.sub("", text)):
        raise ValueError(f"a number of more than {_MOST_DIGITS} digits")
    return json.loads(text)


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
