"""The anchors of the network, and what it should answer for each: is it text, and where exactly."""

from __future__ import annotations

from typing import NamedTuple, Sequence

import numpy

STRIDE = 16  # pixels of a cell; an anchor is as wide
HEIGHTS = (11, 16, 23, 33, 48, 68)
# The first and the last row of pixels of each anchor, from the top of its cell: centred, and cut to whole pixels.
ROWS = tuple((int(7.5 - height / 2), int(7.5 + height / 2)) for height in HEIGHTS)

LEAST_INK = 3  # columns of pixels that a line has in a cell which is a part of it
TEXT_OVERLAP, BACKGROUND_OVERLAP = 0.7, 0.5  # intersection over union, as in the paper
SAMPLE = 256  # anchors of a picture to learn from, as far as there are enough
BACKGROUND, TEXT, IGNORED = 0, 1, -1


class Targets(NamedTuple):
    """What the network should answer for the anchors of a picture."""

    kinds: numpy.ndarray  # int32 [rows, columns * anchors]: BACKGROUND, TEXT or IGNORED
    offsets: numpy.ndarray  # float32 [rows, columns * anchors, 2]: dy and dh, where the kind is TEXT


def anchor_targets(quads: Sequence[numpy.ndarray], height: int, width: int) -> Targets:
    """Return the targets for a picture with lines of text at `quads` [4, 2], which may lie outside in part."""
    rows, columns, count = height // STRIDE, width // STRIDE, len(HEIGHTS)
    kinds = numpy.zeros((columns, rows, count), "int32")
    offsets = numpy.zeros((columns, rows, count, 2), "float32")
    shifts = numpy.arange(rows)[:, None] * STRIDE
    first, last = (shifts + numpy.array(edges) for edges in zip(*ROWS))  # rows of pixels, [rows, count]
    by_column: list[list[tuple[float, float, bool]]] = [[] for _ in range(columns)]
    for quad in quads:
        for column, top, bottom, is_part in _pieces(quad, columns):
            by_column[column].append((top, bottom, is_part and top >= 0 and bottom <= height))
    for column, pieces in enumerate(by_column):
        if pieces:
            kinds[column], offsets[column] = _of_column(numpy.array(pieces), first, last)
    kinds = kinds.transpose(1, 0, 2).reshape(rows, columns * count)
    return Targets(kinds, offsets.transpose(1, 0, 2, 3).reshape(rows, columns * count, 2))


def sampled(kinds: numpy.ndarray, random: numpy.random.RandomState) -> numpy.ndarray:
    """Return `kinds` with all but a sample IGNORED; at most half of the sample is text."""
    flat = kinds.ravel()
    text, background = (random.permutation(numpy.flatnonzero(flat == kind)) for kind in (TEXT, BACKGROUND))
    text = text[: SAMPLE // 2]
    kept = numpy.concatenate([text, background[: SAMPLE - len(text)]])
    chosen = numpy.full_like(flat, IGNORED)
    chosen[kept] = flat[kept]
    return chosen.reshape(kinds.shape)


def _pieces(quad: numpy.ndarray, columns: int):
    """Yield column, top, bottom of each cell's piece of a line, and whether there is enough ink in it."""
    (left, top_left), (right, top_right), (_, bottom_right), (_, bottom_left) = quad
    left, right = min(left, quad[3][0]), max(right, quad[2][0])
    start, end = (top_left + bottom_left) / 2, (top_right + bottom_right) / 2
    slope = (end - start) / (right - left)
    # The sides of a rotated line are not upright, so its height is not that of a column through it.
    height = (bottom_left - top_left + bottom_right - top_right) / 2 * (1 + slope * slope)
    for column in range(max(0, int(left // STRIDE)), min(columns, int(-(-right // STRIDE)))):
        ink = min(right, (column + 1) * STRIDE) - max(left, column * STRIDE)
        centre = start + slope * ((column + 0.5) * STRIDE - left)
        yield column, centre - height / 2, centre + height / 2, ink >= LEAST_INK


def _of_column(pieces: numpy.ndarray, first: numpy.ndarray, last: numpy.ndarray):
    """Return kinds [rows, count] and offsets [rows, count, 2] of a column of cells with `pieces` of lines."""
    top, bottom, is_part = (value[:, None, None] for value in pieces.T)
    common = numpy.minimum(bottom, last + 1) - numpy.maximum(top, first)
    overlaps = common / (numpy.maximum(bottom, last + 1) - numpy.minimum(top, first))  # below 0 where they are apart
    nearest = overlaps.argmax(0)
    best = overlaps.max(0)
    kinds = numpy.where(best >= TEXT_OVERLAP, TEXT, numpy.where(best >= BACKGROUND_OVERLAP, IGNORED, BACKGROUND))
    for number, overlap in enumerate(overlaps):  # each piece has an anchor of its own: the best, and its equals
        own = overlap >= overlap.max() - 1e-6
        kinds[own & (overlap > 0)] = TEXT
        nearest[own & (overlap > 0)] = number
    kinds[(best > 0.1) & (pieces[nearest, 2] == 0)] = IGNORED
    heights = last - first + 1
    # A decoded box goes from its centre less half its height to its centre and half its height, in whole pixels that
    # both belong to it: a piece's last row is bottom - 1.
    box_height = pieces[nearest, 1] - 1 - pieces[nearest, 0]
    centre = (pieces[nearest, 0] + pieces[nearest, 1] - 1) / 2
    dy = (centre - (first + heights / 2)) / heights
    dh = numpy.log(box_height / heights)
    return kinds, numpy.stack([dy, dh], axis=-1)
