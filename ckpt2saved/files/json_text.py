"""Parsing of untrusted JSON with a limit on its nesting depth."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

MOST_LEVELS = 100  # nested lists and objects

_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NO_BRACKETS = re.compile(r"[^\[\]{}]+")


def read_json(text: str) -> Any:
    """Parse a JSON text; raises ValueError if it is malformed or nested more than MOST_LEVELS deep.

    The limit is checked beforehand: up to Python 3.8 the parser may end the process with "Cannot recover from stack
    overflow" instead of raising RecursionError.
    """
    if text.count("[") + text.count("{") > MOST_LEVELS:
        brackets = _NO_BRACKETS.sub("", _STRING.sub("", text))
        levels = itertools.accumulate(1 if bracket in "[{" else -1 for bracket in brackets)
        if max(levels, default=0) > MOST_LEVELS:
            raise ValueError(f"lists and objects are nested more than {MOST_LEVELS} deep")
    return json.loads(text)
