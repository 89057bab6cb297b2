"""Options of detectors: the anchors of a CTPN, and the rules for proposals, text lines and the quads of an EAST."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, NamedTuple, Tuple

# Of the published CTPN (Tian et al. 2016, arXiv:1609.03605): ten heights, each 1 / 0.7 of the one before it.
HEIGHTS = (11, 16, 23, 33, 48, 68, 97, 139, 198, 283)
WIDTH = STRIDE = 16  # pixels


@dataclass(frozen=True)
class Anchors:
    """The boxes that a detector predicts offsets from, at the centre of each cell of `STRIDE` x `STRIDE` pixels."""

    heights: Tuple[int, ...] = HEIGHTS  # in pixels
    width: int = WIDTH

    @property
    def corners(self) -> Tuple[Tuple[int, int, int, int], ...]:
        """Return x1, y1, x2, y2 of each anchor of the first cell, inclusive pixels.

        The centre is (7.5, 7.5), and corners are truncated to integers, as in the published code.
        """
        centre, half = (STRIDE - 1) / 2, self.width / 2
        return tuple(
            (int(centre - half), int(centre - height / 2), int(centre + half), int(centre + height / 2))
            for height in self.heights
        )


MOST_POINTS = 4  # of each side of a pixel of a line that is cut out of a large page: bounds the memory for a line


class PageArray(NamedTuple):
    """A result of a step for one page, padded with zeros to a fixed shape."""

    dtype: str
    shape: Tuple[int, ...]


@dataclass(frozen=True)
class ProposalRules:
    """Which boxes of a detector become proposals. The defaults are those of the published CTPN."""

    min_size: int = 8  # pixels of each side
    min_score: float = 0.0
    most_before_nms: int = 12000  # the best by score
    max_overlap: float = 0.7  # intersection over union; a box that overlaps a better one as much is dropped
    most: int = 1000

    @property
    def results(self) -> Dict[str, PageArray]:
        """Return the results for one page: x1, y1, x2, y2 and score of each proposal, and how many there are."""
        return {
            "boxes": PageArray("float32", (self.most, 4)),
            "scores": PageArray("float32", (self.most,)),
            "count": PageArray("int32", ()),
        }


@dataclass(frozen=True)
class LineRules:
    """Which proposals are joined to a text line, and which lines are kept. Defaults: those of the published CTPN."""

    is_slanted: bool = False  # whether lines may be rotated
    min_proposal_score: float = 0.7
    max_overlap: float = 0.2  # intersection over union of two proposals
    max_gap: int = 50  # pixels between the left edges of neighbours
    min_common_height: float = 0.7  # of two neighbours, as a part of the smaller height
    min_height_ratio: float = 0.7  # of the smaller height to the larger
    min_score: float = 0.9  # the mean of a line's proposals
    min_aspect_ratio: float = 0.5  # width / height of a line
    min_width: int = 32  # pixels
    most: int = 512  # lines of a page; those found first are kept

    @property
    def results(self) -> Dict[str, PageArray]:
        """Return the results for one page: the corners and score of each line, and how many there are.

        The corners are x and y of four points, clockwise from the top left.
        """
        return _quads(self.most)


@dataclass(frozen=True)
class EastRules:
    """Which cells of an EAST's maps become quads, and which quads are kept. Defaults: those of the published code.

    `most_cells`, `most_before_nms` and `most` are not in the published code: they bound time and memory.
    """

    stride: int = 4  # pixels of a cell's side
    min_score: float = 0.8  # a cell with a higher score is text
    most_cells: int = 65536  # of a page: the best by score
    max_overlap: float = 0.2  # intersection over union; quads that overlap more are merged, or the weaker is dropped
    most_before_nms: int = 2000  # merged quads of a page: those with the greatest sum of scores
    min_mean_score: float = 0.1  # of the cells in a quad
    most: int = 512  # quads of a page

    @property
    def results(self) -> Dict[str, PageArray]:
        """Return the results for one page, as those of LineRules."""
        return _quads(self.most)


def _quads(most: int) -> Dict[str, PageArray]:
    return {
        "quads": PageArray("float32", (most, 8)),
        "scores": PageArray("float32", (most,)),
        "count": PageArray("int32", ()),
    }
