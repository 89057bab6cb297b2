"""The order in which a person reads the lines of a page; a detector has the surest first."""

from __future__ import annotations

from typing import Any, List, Optional, Tuple

import numpy as np


def reading_order(quads: np.ndarray[Any, Any]) -> List[int]:
    """Positions of the quads, [n, 8], as they are read: columns from left to right, in each from top to bottom.

    The page is cut at the widest gap between lines, across or down, then each part again: the recursive XY cut
    (Nagy and Seth 1984), on the page turned upright by the median angle of its lines.
    """
    if not len(quads):
        return []
    corners = np.asarray(quads, "float64").reshape(-1, 4, 2)
    along = corners[:, 1] - corners[:, 0]
    angle = np.median(np.arctan2(along[:, 1], along[:, 0]))
    turned = corners @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    low, high = turned.min(axis=1), turned.max(axis=1)
    margin = (high - low) * (0, 0.25)  # of letters above and below, where close lines overlap
    low, high = low + margin, high - margin
    order: List[int] = []
    parts = [np.arange(len(quads))]
    while parts:
        lines = parts.pop()
        cut = _cut(lines, low, high)
        if cut is None:
            order += lines[np.lexsort((low[lines, 0], low[lines, 1]))].tolist()
        else:
            parts += reversed(cut)
    return order


def _cut(
    lines: np.ndarray[Any, Any], low: np.ndarray[Any, Any], high: np.ndarray[Any, Any]
) -> Optional[Tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """Return the lines before and behind the widest gap; None if there is none."""
    found = []  # gap, axis, where it begins
    for axis in (0, 1):
        first = lines[np.argsort(low[lines, axis], kind="stable")]
        reached = np.maximum.accumulate(high[first, axis])
        gaps = low[first[1:], axis] - reached[:-1]
        if len(gaps):
            found.append((gaps.max(), axis, reached[gaps.argmax()]))
    gap, axis, end = max(found, key=lambda one: one[0], default=(0, 0, 0))
    if gap <= 0:
        return None
    is_after = low[lines, axis] >= end
    return lines[~is_after], lines[is_after]
