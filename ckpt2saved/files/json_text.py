"""JSON that others wrote, read up to a limit on its nesting."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

MOST_LEVELS = 100  # of lists and objects inside of each other

_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NO_BRACKETS = re.compile(r"[^\[\]{}]+")


def read_json(text: str) -> Any:
    """The content of a JSON text; raises ValueError where it is none, or is nested more than MOST_LEVELS deep.

    Up to Python 3.8 the reader need not raise RecursionError for such a text: the process may end with "Cannot recover
    from stack overflow", where a destructor runs in the depth of the recursion.
    """
    if text.count("[") + text.count("{") > MOST_LEVELS:
        brackets = _NO_BRACKETS.sub("", _STRING.sub("", text))
        levels = itertools.accumulate(1 if bracket in "[{" else -1 for bracket in brackets)
        if max(levels, default=0) > MOST_LEVELS:
            raise ValueError(f"lists and objects are nested more than {MOST_LEVELS} deep")
    return json.loads(text)
