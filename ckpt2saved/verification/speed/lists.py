"""Lists of numbers of the command line, as in 1,2,4,8."""

from __future__ import annotations

import math
from typing import Tuple

_MOST = 100000


def parse_counts(text: str) -> Tuple[int, ...]:
    """Parse whole numbers from 1; raises ValueError."""
    numbers = _parsed(text, "whole numbers from 1, as in 1,2,4,8")
    if any(number != int(number) or number < 1 for number in numbers):
        raise ValueError(f"{text!r}: expected whole numbers from 1, as in 1,2,4,8")
    return tuple(int(number) for number in numbers)


def parse_rates(text: str) -> Tuple[float, ...]:
    """Parse numbers greater than 0; raises ValueError."""
    return _parsed(text, "requests per second, as in 5,10,20")


def _parsed(text: str, expected: str) -> Tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"{text!r}: expected {expected}") from None
    if not all(math.isfinite(number) and 0 < number <= _MOST for number in numbers):
        raise ValueError(f"{text!r}: expected {expected}, at most {_MOST}")
    return numbers
