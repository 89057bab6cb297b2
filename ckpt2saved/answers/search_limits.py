"""How much of TensorFlow's own CTC beam search is run to compare with, where all of it would take long."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Optional

_STOCK_SECONDS = 2.0  # where the files have the op as well


@dataclass(frozen=True)
class SearchLimits:
    """The time and the lines that the beam search gets."""

    seconds: float = 60.0
    lines: Optional[int] = None  # of each request at most; None: as many as fit
    is_for_stock: bool = False  # the files have the same op, which takes them as long

    def for_stock(self) -> SearchLimits:
        """The limits where the files have the op itself, which runs there three times and can't be interrupted."""
        return replace(self, seconds=min(self.seconds, _STOCK_SECONDS), is_for_stock=True)


DEFAULT_LIMITS = SearchLimits()
