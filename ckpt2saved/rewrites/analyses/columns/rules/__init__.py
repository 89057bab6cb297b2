"""What each kind of op does to the columns of the lines in a padded batch: one rule for each.

All modules with rules are imported here, so that RULES has the rules of all of them.
"""

from __future__ import annotations

from ckpt2saved.rewrites.analyses.columns.registry import RULES
from ckpt2saved.rewrites.analyses.columns.rules import (
    elementwise,
    loops,
    made_of_sizes,
    normalisations,
    parts,
    recurrent,
    series,
    shapes,
    sums,
    windows,
)

__all__ = [
    "RULES",
    "elementwise",
    "loops",
    "made_of_sizes",
    "normalisations",
    "parts",
    "recurrent",
    "series",
    "shapes",
    "sums",
    "windows",
]
