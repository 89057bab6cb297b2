"""Random answers of a CTPN: rows of text, a chain of anchors with high scores each, and noise."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ckpt2saved.signature.detection import STRIDE, Anchors

ALL = Anchors()  # the ten of the published network


class TextRow(NamedTuple):
    """A straight row of text, in pixels."""

    left: float
    right: float
    middle: float  # y of its centre at the left end
    slope: float
    height: float

    def middle_at(self, x):
        return self.middle + self.slope * (x - self.left)


class Answers(NamedTuple):
    """What the detector answers for a batch of pages, and the rows of text that it was made from."""

    cls_prob: np.ndarray  # float32 [batch, rows, columns * A, 2]; no two scores of a page are equal
    bbox_pred: np.ndarray  # float32 [batch, rows, columns, 4 * A]
    im_info: np.ndarray  # float32 [batch, 3]
    text_rows: tuple  # of each page, its TextRows

    def of_page(self, page):
        """The answers of one page of the batch, as a batch of one."""
        one = slice(page, page + 1)
        return Answers(self.cls_prob[one], self.bbox_pred[one], self.im_info[one], self.text_rows[one])


def random_answers(seed, batch=1, cells=(20, 30), anchors=ALL, text_rows=4):
    """Answers for `batch` pages in a feature map of `cells` (rows, columns), at most `text_rows` rows of text a page.

    Pages after the first are smaller than the feature map, as in a padded batch.
    """
    r = np.random.RandomState(seed)
    pages = [_page(r, cells, anchors, text_rows, is_padded=page > 0) for page in range(batch)]
    scores, deltas, sizes, rows = zip(*pages)
    text = np.reshape(scores, (batch, cells[0], -1))
    return Answers(
        np.stack([1 - text, text], axis=-1),
        np.reshape(deltas, (batch,) + tuple(cells) + (-1,)),
        np.array([size + (1,) for size in sizes], np.float32),
        rows,
    )


def _page(r, cells, anchors, text_rows, is_padded):
    part = r.uniform(0.6, 1, 2) if is_padded else (1, 1)
    size = tuple(int(cells[axis] * STRIDE * part[axis]) for axis in (0, 1))
    shape = tuple(cells) + (len(anchors.heights),)
    scores = r.uniform(0, 0.75, shape)
    deltas = r.normal(0, 0.3, shape + (4,))
    rows = _rows(r, size, anchors, text_rows)
    for row in rows:
        _write(r, row, anchors, scores, deltas)
    return _distinct(scores), deltas.astype(np.float32), size, rows


def _rows(r, size, anchors, count):
    """Rows of text one below the other; some touch the edges of the page, some are too short to be lines."""
    height, width = size
    corners = np.array(anchors.corners)
    lowest, highest = np.min(corners[:, 3] - corners[:, 1]), min(np.max(corners[:, 3] - corners[:, 1]), height / 4)
    rows, top = [], r.uniform(-5, 30)
    while len(rows) < count:
        tall = r.uniform(lowest, max(lowest, highest))
        left = r.uniform(-20, width * 0.6)
        long = r.uniform(20, width * 1.1 - left)
        slope = r.uniform(-0.08, 0.08)
        above = tall / 2 + max(0, -slope * long)
        below = tall / 2 + max(0, slope * long)
        if top + above + below > height + 10:
            break
        rows.append(TextRow(left, left + long, top + above, slope, tall))
        top += above + below + r.uniform(4, 30)
    return tuple(rows)


def _write(r, row, anchors, scores, deltas):
    """Give the anchors along a row high scores, and deltas that lead to the row's box within a few pixels."""
    corners = np.array(anchors.corners, float)
    sizes = corners[:, 3] - corners[:, 1] + 1
    for column in range(scores.shape[1]):
        x = (column + 0.5) * STRIDE
        if not row.left <= x <= row.right or r.uniform() < 0.08:  # between two words
            continue
        middle = row.middle_at(x)
        for cell in range(scores.shape[0]):
            centres = cell * STRIDE + corners[:, 1] + sizes / 2
            distance = np.abs(centres - middle) / sizes + np.abs(np.log(sizes / row.height))
            for anchor in np.flatnonzero(distance < 0.7):
                tall = row.height * np.exp(r.normal(0, 0.05))
                at = middle + r.normal(0, 0.03) * tall
                deltas[cell, column, anchor, 1] = (at - centres[anchor]) / sizes[anchor]
                deltas[cell, column, anchor, 3] = np.log(tall / sizes[anchor])
                scores[cell, column, anchor] = 1 - 0.5 * distance[anchor] * r.uniform()


def _distinct(scores):
    """The scores in the order that they had, float32 in [0, 1], no two equal."""
    flat = scores.ravel()
    order = np.argsort(flat)
    flat[order] += np.arange(len(flat)) * 2e-7
    return (flat / max(1, flat.max())).astype(np.float32).reshape(scores.shape)
