"""Limits for TensorFlow's CTC beam search in the parity check."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Optional

_STOCK_SECONDS = 2.0  # if the files contain the op too


@dataclass(frozen=True)
class SearchLimits:
    """The limits of time and lines for the beam search."""

    seconds: float = 60.0
    lines: Optional[int] = None  # maximum lines of each request; None: as many as fit into the time
    is_for_stock: bool = False  # the files contain the same op, which is as slow

    def for_stock(self) -> SearchLimits:
        """The limits if the files contain the op, which runs there three times and cannot be interrupted."""
        return replace(self, seconds=min(self.seconds, _STOCK_SECONDS), is_for_stock=True)


DEFAULT_LIMITS = SearchLimits()
