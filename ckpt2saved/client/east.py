"""Quads of text from the score and geometry maps of an EAST detector, in NumPy: for clients of a network's own outputs.

EAST is Zhou et al. 2017, arXiv:1704.03155. The conventions are those of github.com/argman/EAST:
- The cell at (row, column) stands for the pixel x = stride * column, y = stride * row.
- The geometry of a cell has 5 channels: the distances from that pixel to the top, right, bottom and left side of the
  text, in pixels, and the text's angle in radians; at a positive angle the text rises to the right. Or it has 8
  channels: the pixel minus each corner, x and y, clockwise from the top left (QUAD of the paper).
- Cells go row by row. A cell's quad is merged into the one before it if they overlap: corners are averaged by score,
  scores are added (locality-aware NMS). Of the merged quads that overlap, the one with the greatest sum is kept.
- A quad's score is the mean of the score map under it, as cv2.fillPoly of OpenCV 5 draws the quad.

Three things differ from that code. Its cells with negative angles come after all others, and get the scores of other
cells; here every cell keeps its place and its score. Cells whose quad is not convex with the corners clockwise,
or reaches a million pixels far, or is NaN, are left out. Coordinates are not rounded to 1 / 10000 pixel.
"""

from __future__ import annotations

from typing import Any, List, Sequence, Tuple

import numpy as np

from ckpt2saved.client.detection import TextLines
from ckpt2saved.signature.detection import EastRules

_Points = Sequence[Tuple[float, float]]
_RULES = EastRules()
_FAR = 1e6  # pixels


def east_quads(
    score: np.ndarray[Any, Any],
    geometry: np.ndarray[Any, Any],
    im_info: np.ndarray[Any, Any],
    rules: EastRules = _RULES,
) -> List[TextLines]:
    """Return the text of each page of `score` [batch, rows, columns, 1] and `geometry` [batch, rows, columns, 5 or 8].

    Those with the greatest sum of scores come first; the score is the mean of the score map under each quad.
    `im_info` [batch, 3] is each page's height and width in pixels, and a scale that is not used: cells beyond them are
    padding.
    """
    return [_of_page(*page, rules=rules) for page in zip(score[..., 0], geometry, im_info)]


def _of_page(
    score: np.ndarray[Any, Any], geometry: np.ndarray[Any, Any], size: np.ndarray[Any, Any], rules: EastRules
) -> TextLines:
    rows, columns = (int(np.ceil(min(side, 2**30) / rules.stride)) if side > 0 else 0 for side in size[:2])
    score, geometry = score[:rows, :columns], geometry[:rows, :columns]
    with np.errstate(invalid="ignore"):
        at = np.argwhere((score > rules.min_score) & np.isfinite(score))
    values = score[at[:, 0], at[:, 1]].astype(np.float64)
    best = np.sort(np.argsort(-values, kind="stable")[: rules.most_cells])
    at, values = at[best], values[best]
    with np.errstate(invalid="ignore"):
        quads = corners(at[:, ::-1].astype(np.float64) * rules.stride, geometry[at[:, 0], at[:, 1]].astype(np.float64))
        fit = is_sound(quads)
    kept = _distinct(*_merged(quads[fit], values[fit], rules), rules=rules).astype(np.float32)
    means = np.array([_mean_under(quad, score, rules.stride) for quad in kept], np.float32)
    kept, means = kept[means > rules.min_mean_score], means[means > rules.min_mean_score]
    return TextLines(kept.reshape(-1, 8), means)


def corners(pixels: np.ndarray[Any, Any], geometry: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return float64 [n, 4, 2], x and y of the corners, of `pixels` [n, 2] (x, y) with `geometry` [n, 5 or 8]."""
    if geometry.shape[1] == 8:
        made: np.ndarray[Any, Any] = pixels[:, None] - geometry.reshape(-1, 4, 2)
        return made
    top, right, bottom, left, angle = geometry.T[:, :, None]
    along = np.concatenate([-left, right, right, -left], 1)
    down = np.concatenate([-top, -top, bottom, bottom], 1)
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.stack(
        [pixels[:, :1] + along * cosine + down * sine, pixels[:, 1:] - along * sine + down * cosine], axis=2
    )


def overlap(first: _Points, second: _Points) -> float:
    """Return the intersection over union of two convex polygons, each a list of (x, y) clockwise."""
    common = list(first)
    for start, end in zip(second, [*second[1:], second[0]]):
        common = _clipped(common, start, end)
    shared = _area(common)
    return shared / (_area(first) + _area(second) - shared)


def _clipped(polygon: _Points, start: Tuple[float, float], end: Tuple[float, float]) -> List[Tuple[float, float]]:
    """Return what of `polygon` lies right of the line from `start` to `end` (Sutherland and Hodgman 1974)."""
    made: List[Tuple[float, float]] = []
    inside = [(end[0] - start[0]) * (y - start[1]) - (end[1] - start[1]) * (x - start[0]) for x, y in polygon]
    for i, (x, y) in enumerate(polygon):
        before, now = inside[i - 1], inside[i]
        if (before < 0) != (now < 0):
            part = before / (before - now)
            made.append(
                (polygon[i - 1][0] + part * (x - polygon[i - 1][0]), polygon[i - 1][1] + part * (y - polygon[i - 1][1]))
            )
        if now >= 0:
            made.append((x, y))
    return made


def _area(polygon: _Points) -> float:
    if not polygon:
        return 0.0
    zero_x, zero_y = polygon[0]
    points = [(x - zero_x, y - zero_y) for x, y in polygon]
    return sum(points[i - 1][0] * y - points[i - 1][1] * x for i, (x, y) in enumerate(points)) / 2


def is_sound(quads: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return for each of `quads` [n, 4, 2] whether it turns right at every corner, near the page; False for NaN."""
    sides = np.roll(quads, -1, axis=1) - quads
    following = np.roll(sides, -1, axis=1)
    with np.errstate(over="ignore", invalid="ignore"):  # of corners that are far beyond a page
        turns = sides[..., 0] * following[..., 1] - sides[..., 1] * following[..., 0]
    made: np.ndarray[Any, Any] = (turns > 0).all(axis=1) & (np.abs(quads) < _FAR).all(axis=(1, 2))
    return made


def _merged(
    quads: np.ndarray[Any, Any], values: np.ndarray[Any, Any], rules: EastRules
) -> Tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the quads [m, 4, 2] and sums of scores [m] of runs: each of `quads` joins the run before it, or is new."""
    runs: List[np.ndarray[Any, Any]] = []
    sums: List[float] = []
    for quad, value in zip(quads, values):
        if runs and overlap(runs[-1].tolist(), quad.tolist()) > rules.max_overlap:
            total = sums[-1] + value
            runs[-1], sums[-1] = (runs[-1] * sums[-1] + quad * value) / total, total
        else:
            runs.append(quad)
            sums.append(value)
    return np.array(runs).reshape(-1, 4, 2), np.array(sums)


def _distinct(quads: np.ndarray[Any, Any], sums: np.ndarray[Any, Any], rules: EastRules) -> np.ndarray[Any, Any]:
    """Return those of `quads` [n, 4, 2] that overlap no other one with a greater sum that is returned."""
    quads = quads[np.argsort(-sums, kind="stable")[: rules.most_before_nms]]
    low, high = quads.min(axis=1), quads.max(axis=1)
    kept: List[int] = []
    for i, quad in enumerate(quads):
        touches = ((low[kept] < high[i]) & (high[kept] > low[i])).all(axis=1)
        near = [kept[k] for k in np.flatnonzero(touches)]
        if all(overlap(quads[k].tolist(), quad.tolist()) <= rules.max_overlap for k in near):
            kept.append(i)
        if len(kept) == rules.most:
            break
    return quads[kept]


def _mean_under(quad: np.ndarray[Any, Any], score: np.ndarray[Any, Any], stride: int) -> float:
    """Return the mean of `score` [rows, columns] under `quad` float32 [4, 2]; values that are not finite count as 0.

    As of cv2.fillPoly in OpenCV 5: corners are rounded down to cells, sides are lines of Bresenham (1965) from left to
    right, and the quad is what lies on them or between them in a row.
    """
    cells = (quad.astype(np.int32) // stride).tolist()
    sides = [sorted(side) for side in zip(cells, [*cells[1:], cells[0]])]
    total, count = 0.0, 0
    for row in range(max(0, min(y for _, y in cells)), min(len(score), max(y for _, y in cells) + 1)):
        crossed = [side for side in sides if min(side[0][1], side[1][1]) <= row <= max(side[0][1], side[1][1])]
        ends = [_cells_of_row(left, right, row) for left, right in crossed]
        first = max(0, min(first for first, _ in ends))
        values = score[row, first : max(first, max(last for _, last in ends) + 1)].astype(np.float64)
        total += values[np.isfinite(values)].sum()
        count += len(values)
    return total / count if count else 0.0


def _cells_of_row(left: Sequence[int], right: Sequence[int], row: int) -> Tuple[int, int]:
    """Return the first and the last column in `row` of the line between two cells (x, y)."""
    width, height, down = right[0] - left[0], abs(right[1] - left[1]), abs(row - left[1])
    if height == 0:
        return left[0], right[0]
    if width < height:
        column = left[0] - (height - 2 * down * width) // (2 * height)  # halves are rounded to the left
        return column, column
    first, last = (2 * down - 1) * width // (2 * height) + 1, (2 * down + 1) * width // (2 * height)
    return left[0] + max(0, first), left[0] + min(width, last)
