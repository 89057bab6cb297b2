"""Widths of made-up requests: given as numbers or a range, or those of pictures."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Tuple

import numpy as np

_RANGE = re.compile(r"([0-9]{1,6})-([0-9]{1,6})\Z")
_LIST = re.compile(r"[0-9]{1,6}(,[0-9]{1,6})*\Z")
_EXPECTED = "expected a range as in 40-400, or widths as in 64,128,256, in pixels"


@dataclass(frozen=True)
class Widths:
    """A distribution of widths in pixels: all of a range, or these, equally likely."""

    values: Tuple[int, ...]  # of a range its first and last
    is_range: bool = False

    def __str__(self) -> str:
        return ("-" if self.is_range else ",").join(map(str, self.values))

    def drawn(self, count: int, random: np.random.RandomState) -> Tuple[int, ...]:
        """Return `count` widths."""
        if self.is_range:
            found = random.randint(self.values[0], self.values[-1] + 1, count)
        else:
            found = random.choice(self.values, count)
        return tuple(int(width) for width in found)


def parse_widths(text: str) -> Widths:
    """Parse 40-400 or 64,128,256; raises ValueError."""
    match = _RANGE.match(text)
    if match:
        values = tuple(map(int, match.groups()))
    elif _LIST.match(text):
        values = tuple(map(int, text.split(",")))
    else:
        raise ValueError(f"{text!r} is no distribution of widths; {_EXPECTED}")
    if min(values) < 1 or (match and values[0] > values[1]):
        raise ValueError(f"{text!r}: {'the range is empty' if min(values) else 'a width is 0'}; {_EXPECTED}")
    return Widths(values, is_range=bool(match))
