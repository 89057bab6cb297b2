"""From the answers of a CTPN to proposals and text lines, with NumPy alone.

For clients of a detector's `serving_default`, which answers scores and offsets of anchors:

    answer = client.predict("serving_default", {"input_image": pictures, "input_im_info": im_info})
    for page, found in zip(im_info, proposals(answer["output_cls_prob"], answer["output_bbox_pred"], im_info)):
        lines = text_lines(found, (page[0], page[1]))

Boxes are x1, y1, x2, y2 in pixels of the detector's input, and x2 and y2 are inclusive: the width is x2 - x1 + 1.
Boxes are float32, lines are computed in float64. The procedure is the one that was published with CTPN
(Tian et al. 2016, arXiv:1609.03605).
"""

from __future__ import annotations

from typing import Any, List, NamedTuple, Optional, Tuple

import numpy as np

from ckpt2saved.signature.detection import STRIDE, Anchors, LineRules, ProposalRules

_ANCHORS, _PROPOSAL_RULES, _LINE_RULES = Anchors(), ProposalRules(), LineRules()
_ADDED_HEIGHT = 2.5  # pixels; of a slanted line, to the mean of y2 - y1


class Proposals(NamedTuple):
    """Boxes of one page that may be a part of a text line, best first."""

    boxes: np.ndarray  # float32 [n, 4]
    scores: np.ndarray  # float32 [n]


class TextLines(NamedTuple):
    """Text lines of one page, or words; those of a CTPN in descending order of the scores of their first proposals."""

    quads: np.ndarray  # float32 [m, 8]: x, y of the corners, clockwise from the top left
    scores: np.ndarray  # float32 [m]: of a CTPN the mean of the line's proposals


def proposals(
    cls_prob: Any,
    bbox_pred: Any,
    im_info: Any,
    anchors: Anchors = _ANCHORS,
    rules: ProposalRules = _PROPOSAL_RULES,
) -> List[Proposals]:
    """Return the proposals of each page.

    `cls_prob` is [batch, rows, columns * A, 2] or [batch, rows, columns, 2 * A] for A anchors, the probability of text
    second; `bbox_pred` [batch, rows, columns, 4 * A], per anchor dx, dy, dw, dh; `im_info` [batch, 3]: height and width
    of the page in pixels, and its scale, which is not used. Raises ValueError if the shapes do not fit together.
    """
    bbox_pred, im_info = np.asarray(bbox_pred, np.float32), np.asarray(im_info, np.float32)
    count = len(anchors.heights)
    if bbox_pred.ndim != 4 or bbox_pred.shape[3] != 4 * count:
        raise ValueError(f"bbox_pred: shape {bbox_pred.shape}, expected [batch, rows, columns, {4 * count}]")
    batch, rows, columns, _ = bbox_pred.shape
    cls_prob = np.asarray(cls_prob, np.float32)
    if cls_prob.shape not in ((batch, rows, columns * count, 2), (batch, rows, columns, 2 * count)):
        raise ValueError(
            f"cls_prob: shape {cls_prob.shape}, expected ({batch}, {rows}, {columns * count}, 2) as bbox_pred has"
        )
    if im_info.shape != (batch, 3):
        raise ValueError(f"im_info: shape {im_info.shape}, expected ({batch}, 3) as bbox_pred has")
    scores = cls_prob.reshape(batch, rows * columns * count, 2)[:, :, 1]
    deltas = bbox_pred.reshape(batch, rows * columns * count, 4)
    at = _anchor_boxes(rows, columns, anchors)
    return [_chosen(_decoded(at, deltas[page], im_info[page]), scores[page], rules) for page in range(batch)]


def text_lines(found: Proposals, size: Tuple[float, float], rules: LineRules = _LINE_RULES) -> TextLines:
    """Return the text lines of a page of `size` (height, width) in pixels.

    The corners of slanted lines may lie outside of the page. Proposals that a signature padded with zeros can be given
    as they are.
    """
    scores = np.asarray(found.scores, np.float32)
    kept = np.flatnonzero(scores > rules.min_proposal_score)
    kept = kept[np.argsort(-scores[kept], kind="mergesort")]
    boxes, scores = np.asarray(found.boxes, np.float32).reshape(-1, 4)[kept], scores[kept]
    kept = _without_overlaps(boxes, rules.max_overlap)
    boxes, scores = boxes[kept].astype(np.float64), scores[kept]
    quads: List[np.ndarray] = []
    means: List[float] = []
    for chain in _chains(_successors(boxes, scores, rules)):
        quad = _slanted(boxes[chain]) if rules.is_slanted else _upright(boxes[chain], size)
        score = float(np.mean(scores[chain], dtype=np.float64))
        if len(quads) < rules.most and _is_line(quad, score, rules):
            quads.append(quad)
            means.append(score)
    return TextLines(np.array(quads, np.float32).reshape(-1, 8), np.array(means, np.float32))


def _anchor_boxes(rows: int, columns: int, anchors: Anchors) -> np.ndarray:
    """Return the anchors of all cells, float32 [rows * columns * A, 4]."""
    y, x = np.meshgrid(np.arange(rows) * STRIDE, np.arange(columns) * STRIDE, indexing="ij")
    shifts = np.stack([x, y, x, y], axis=-1).reshape(-1, 1, 4)
    return np.asarray((shifts + np.array(anchors.corners)).reshape(-1, 4), np.float32)


def _decoded(anchors: np.ndarray, deltas: np.ndarray, im_info: np.ndarray) -> np.ndarray:
    """Return the boxes [n, 4] of a page, clipped to it; NaN where a delta is not a number.

    Of the deltas only dy and dh are used: CTPN predicts no horizontal offsets.
    """
    x1, y1, x2, y2 = anchors.T
    width, height = x2 - x1 + 1, y2 - y1 + 1
    centre_x, centre_y = x1 + width / 2, y1 + height / 2
    with np.errstate(over="ignore", invalid="ignore"):
        centre_y = deltas[:, 1] * height + centre_y
        height = np.exp(deltas[:, 3]) * height
        boxes = np.stack(
            [centre_x - width / 2, centre_y - height / 2, centre_x + width / 2, centre_y + height / 2], axis=-1
        )
        return _clipped(boxes, (im_info[0], im_info[1]))


def _clipped(corners: np.ndarray, size: Tuple[float, float]) -> np.ndarray:
    """Return corners [..., 2 k] of x, y, ... within a page of `size` (height, width)."""
    last = np.array([size[1], size[0]] * (corners.shape[-1] // 2), corners.dtype) - 1
    return np.asarray(np.maximum(np.minimum(corners, last), 0))


def _chosen(boxes: np.ndarray, scores: np.ndarray, rules: ProposalRules) -> Proposals:
    """Return the proposals among the boxes of a page."""
    with np.errstate(invalid="ignore"):
        is_large = np.all(boxes[:, 2:] - boxes[:, :2] + 1 >= rules.min_size, axis=1)  # False for NaN
        kept = np.flatnonzero(is_large & (scores >= rules.min_score))
    kept = kept[np.argsort(-scores[kept], kind="mergesort")][: rules.most_before_nms]
    kept = kept[_without_overlaps(boxes[kept], rules.max_overlap, rules.most)]
    return Proposals(boxes[kept], scores[kept])


def _without_overlaps(boxes: np.ndarray, max_overlap: float, most: Optional[int] = None) -> np.ndarray:
    """Return the indices of boxes that overlap no better box by `max_overlap` or more; `boxes` are best first."""
    kept: List[int] = []
    left = np.arange(len(boxes))
    x1, y1, x2, y2 = boxes.T.copy()
    areas = (x2 - x1 + 1) * (y2 - y1 + 1)
    while len(left) and (most is None or len(kept) < most):
        best, left = left[0], left[1:]
        kept.append(int(best))
        width = np.minimum(x2[left], x2[best]) - np.maximum(x1[left], x1[best]) + 1
        height = np.minimum(y2[left], y2[best]) - np.maximum(y1[left], y1[best]) + 1
        common = np.maximum(width, 0) * np.maximum(height, 0)
        left = left[common / (areas[left] + areas[best] - common) < max_overlap]
    return np.array(kept, np.int64)


def _successors(boxes: np.ndarray, scores: np.ndarray, rules: LineRules) -> np.ndarray:
    """Return the index of each box's right neighbour in its line, -1 if there is none.

    The neighbour on a side is the best of the boxes at the nearest left edge, in whole pixels, that is at most
    `max_gap` away and fits beside this one. A right neighbour counts if its own left neighbour does not score higher
    than this box. So a box may be the right neighbour of several, and be a part of several lines.
    """
    fits = _fit_beside(boxes, rules)
    edges = boxes[:, 0].astype(np.int64)

    def best_neighbour(index: int, direction: int) -> int:
        gaps = (edges - edges[index]) * direction
        others = np.flatnonzero(fits[index] & (gaps > 0) & (gaps <= rules.max_gap))
        if not len(others):
            return -1
        nearest = others[gaps[others] == gaps[others].min()]
        return int(nearest[np.argmax(scores[nearest])])

    right = [best_neighbour(index, 1) for index in range(len(boxes))]
    left = [best_neighbour(index, -1) for index in range(len(boxes))]
    agreed = [other if other >= 0 and scores[index] >= scores[left[other]] else -1 for index, other in enumerate(right)]
    return np.array(agreed, np.int64)


def _fit_beside(boxes: np.ndarray, rules: LineRules) -> np.ndarray:
    """Return whether two boxes are of similar height at a similar place, bool [n, n]."""
    top, bottom = boxes[:, 1], boxes[:, 3]
    height = bottom - top + 1
    smaller, larger = np.minimum(height[:, None], height), np.maximum(height[:, None], height)
    common = np.minimum(bottom[:, None], bottom) - np.maximum(top[:, None], top) + 1
    return np.asarray(
        (common / smaller >= rules.min_common_height) & (smaller / larger >= rules.min_height_ratio), bool
    )


def _chains(successors: np.ndarray) -> List[List[int]]:
    """Return the indices of each line's boxes from left to right; a box without neighbours is no line."""
    chains = []
    for first in np.setdiff1d(np.flatnonzero(successors >= 0), successors):
        chain = [int(first)]
        while successors[chain[-1]] >= 0:
            chain.append(int(successors[chain[-1]]))
        chains.append(chain)
    return chains


def _upright(boxes: np.ndarray, size: Tuple[float, float]) -> np.ndarray:
    """Return the corners [8] of the upright box around the fitted top and bottom edges, clipped to the page."""
    left, right = boxes[:, 0].min(), boxes[:, 2].max()
    inside = (boxes[0, 2] - boxes[0, 0]) / 2
    ends = np.array([left + inside, right - inside])
    top = _fitted(boxes[:, 0], boxes[:, 1], ends).min()
    bottom = _fitted(boxes[:, 0], boxes[:, 3], ends).max()
    return _clipped(np.array([left, top, right, top, right, bottom, left, bottom]), size)


def _slanted(boxes: np.ndarray) -> np.ndarray:
    """Return the corners [8] of the rotated box around the line through the boxes' centres."""
    ends = np.array([boxes[:, 0].min(), boxes[:, 2].max()])
    middle = _fitted((boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2, ends)
    height = np.mean(boxes[:, 3] - boxes[:, 1]) + _ADDED_HEIGHT
    # A parallelogram with upright sides becomes a rectangle that contains it: its top and bottom edges are made longer
    # at the end where each is too short.
    run, rise = ends[1] - ends[0], middle[1] - middle[0]
    along = height * rise / (run * run + rise * rise)
    move = along * np.array([run, rise])
    top, bottom = middle - height / 2, middle + height / 2
    corners = np.array([[ends[0], top[0]], [ends[1], top[1]], [ends[1], bottom[1]], [ends[0], bottom[0]]])
    if rise < 0:
        corners[0] += move
        corners[2] -= move
    else:
        corners[1] += move
        corners[3] -= move
    return corners.reshape(8)


def _fitted(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return the values at `at` of the line that is fitted to points by least squares."""
    from_mean = x - x.mean()
    spread = np.sum(from_mean * from_mean)
    slope = np.sum(from_mean * (y - y.mean())) / spread if spread > 0 else 0.0
    return np.asarray(y.mean() + slope * (at - x.mean()))


def _is_line(quad: np.ndarray, score: float, rules: LineRules) -> bool:
    """Return whether a line's shape and score are as the rules ask."""
    (x1, y1), (x2, y2), (x3, y3), (x4, y4) = quad.reshape(4, 2)
    width = (abs(x2 - x1) + abs(x3 - x4)) / 2 + 1
    height = (abs(y4 - y1) + abs(y3 - y2)) / 2 + 1
    return bool(width / height > rules.min_aspect_ratio and score > rules.min_score and width > rules.min_width)
