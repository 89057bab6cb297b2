"""Text lines of the proposals of a CTPN: neighbours joined to chains, and a quadrangle around each chain."""

from __future__ import annotations

from typing import Dict, List, Mapping, NamedTuple, Tuple

from ckpt2saved.graph.tf1 import tf
from ckpt2saved.signature.detection import LineRules
from ckpt2saved.sources.steps.pages import each_page
from ckpt2saved.sources.steps.proposals import apart, clipped, padded

_DOUBLINGS = 12
MOST_JOINED = 2**_DOUBLINGS  # proposals of a page that are joined to lines, the best: time grows with the square
_AT_ONCE = 256  # proposals that are compared with all others: memory grows with the number of proposals

_NONE = tf.int32.max
_MARGIN = 2.5  # pixels; of a slanted line's height, in the published code


def text_lines(proposals: Mapping[str, tf.Tensor], im_info: tf.Tensor, rules: LineRules) -> Dict[str, tf.Tensor]:
    """Return the lines of each page, in the order of the scores of their leftmost proposals, and how many there are.

    `quads` float32 [batch, rules.most, 8]: x, y of the corners, clockwise from the top left; `scores` float32
    [batch, rules.most]; `count` int32 [batch]. The rest is 0.

    `proposals` is what `decoded_proposals` returns, best first; `im_info` float32 [batch, 3], of which height and
    width are used. Of the proposals that overlap no better one, the best MOST_JOINED are used.
    """

    def of_page(boxes: tf.Tensor, scores: tf.Tensor, count: tf.Tensor, info: tf.Tensor) -> List[tf.Tensor]:
        boxes, scores = _joinable(boxes[:count], scores[:count], rules)
        chains = _chains(boxes, scores, _successors(boxes, scores, rules))
        quads = _slanted(chains) if rules.is_slanted else _upright(chains, tf.cast(info, tf.float64))
        kept = tf.where(_is_line(quads, chains.score, rules))[: rules.most, 0]
        found = [tf.cast(tf.gather(values, kept), tf.float32) for values in (quads, chains.score)]
        return [padded(values, rules.most) for values in found] + [tf.size(kept)]

    return each_page(of_page, [proposals["boxes"], proposals["scores"], proposals["count"], im_info], rules.results)


def _joinable(boxes: tf.Tensor, scores: tf.Tensor, rules: LineRules) -> Tuple[tf.Tensor, tf.Tensor]:
    """Return boxes float32 [n, 4] and scores [n] of the proposals that may be a part of a line, best first."""
    boxes, scores = tf.reshape(boxes, [-1, 4]), tf.reshape(scores, [-1])
    is_good = scores > rules.min_proposal_score
    boxes, scores = tf.boolean_mask(boxes, is_good), tf.boolean_mask(scores, is_good)
    kept = apart(boxes, rules.max_overlap, MOST_JOINED)
    return tf.gather(boxes, kept), tf.gather(scores, kept)


def _successors(boxes: tf.Tensor, scores: tf.Tensor, rules: LineRules) -> tf.Tensor:
    """Return the number of each box's successor in its line, int32 [n]; n where it has none.

    The neighbour on a side is the best of the boxes at the nearest left edge, in whole pixels. The right neighbour is
    the successor, unless its own left neighbour is better than this box. So a box has one successor, and may be that of
    several.
    """
    size = tf.size(scores)
    numbers = tf.range(size)
    right, left = (tf.where(one < _NONE, tf.math.floormod(one, MOST_JOINED), numbers) for one in _nearest(boxes, rules))
    is_agreed = tf.logical_and(tf.not_equal(right, numbers), scores >= tf.gather(scores, tf.gather(left, right)))
    return tf.where(is_agreed, right, tf.fill([size], size))


def _nearest(boxes: tf.Tensor, rules: LineRules) -> Tuple[tf.Tensor, tf.Tensor]:
    """Return MOST_JOINED * gap + number of each box's nearest one on the right, and on the left, int32 [n].

    The smallest of them is the nearest box, and of equally near ones the first, which is the best. _NONE without any.
    """
    size = tf.shape(boxes)[0]
    numbers = tf.range(size)
    edges = tf.cast(boxes[:, 0], tf.int32)

    def step(first: tf.Tensor, right: tf.TensorArray, left: tf.Tensor) -> List[tf.Tensor]:
        rows = numbers[first : first + _AT_ONCE]
        gaps = edges - tf.gather(edges, rows)[:, None]  # [rows, n], from the box of the row to that of the column
        is_near = tf.logical_and(gaps >= 1, gaps <= rules.max_gap)
        is_near = tf.logical_and(is_near, _are_alike(tf.gather(boxes, rows), boxes, rules))
        nothing = tf.fill(tf.shape(gaps), _NONE)
        nearest = tf.reduce_min(tf.where(is_near, gaps * MOST_JOINED + numbers, nothing), axis=1)
        before = tf.reduce_min(tf.where(is_near, gaps * MOST_JOINED + rows[:, None], nothing), axis=0)
        return [first + _AT_ONCE, right.write(first // _AT_ONCE, nearest), tf.minimum(left, before)]

    blocks = (size + _AT_ONCE - 1) // _AT_ONCE
    array = tf.TensorArray(tf.int32, blocks, element_shape=[None], infer_shape=False)
    _, array, left = tf.while_loop(
        lambda first, *_: first < size,
        step,
        [tf.constant(0), array, tf.fill([size], _NONE)],
        parallel_iterations=1,
        back_prop=False,
    )
    return array.concat(), left


def _are_alike(some: tf.Tensor, boxes: tf.Tensor, rules: LineRules) -> tf.Tensor:
    """Whether a box of `some` and one of `boxes` are of similar height at a similar place, bool [some, boxes]."""
    (some_top, some_bottom), (top, bottom) = (
        tf.unstack(tf.cast(tf.gather(values, [1, 3], axis=1), tf.float64), axis=1) for values in (some, boxes)
    )
    some_top, some_bottom = some_top[:, None], some_bottom[:, None]
    some_height, height = some_bottom - some_top + 1, bottom - top + 1
    smaller, larger = tf.minimum(height, some_height), tf.maximum(height, some_height)
    common = tf.minimum(bottom, some_bottom) - tf.maximum(top, some_top) + 1
    return tf.logical_and(common / smaller >= rules.min_common_height, smaller / larger >= rules.min_height_ratio)


class _Fit(NamedTuple):
    """The line of least squares through some points of each chain: y = slope * x + start; float64 [chains]."""

    slope: tf.Tensor
    start: tf.Tensor

    def at(self, x: tf.Tensor) -> tf.Tensor:
        return self.slope * x + self.start


class _Chains(NamedTuple):
    """What is known of each chain of boxes, in the order of their first boxes; float64 [chains]."""

    left: tf.Tensor
    right: tf.Tensor
    inset: tf.Tensor  # half the width of the first box
    top: _Fit  # of the upper left corners
    bottom: _Fit  # of the lower left corners
    middle: _Fit  # of the centres
    height: tf.Tensor  # the mean of y2 - y1
    score: tf.Tensor  # the mean


def _chains(boxes: tf.Tensor, scores: tf.Tensor, successors: tf.Tensor) -> _Chains:
    """Return the chains: each starts at a box with a successor and without a predecessor."""
    size = tf.size(scores)
    x1, y1, x2, y2 = tf.unstack(tf.cast(boxes, tf.float64), axis=1)
    terms = [tf.ones_like(x1), tf.cast(scores, tf.float64), y2 - y1]
    for x, y in ((x1, y1), (x1, y2), ((x1 + x2) / 2, (y1 + y2) / 2)):
        terms += [x, y, x * x, x * y]
    sums, right = _along(tf.stack(terms, axis=1), x2, successors)

    predecessors = tf.math.unsorted_segment_sum(tf.ones_like(successors), successors, size + 1)[:size]
    is_first = tf.logical_and(successors < size, tf.equal(predecessors, 0))
    sums, left, right, width = (tf.boolean_mask(values, is_first) for values in (sums, x1, right, x2 - x1))
    count, score, height = (sums[:, number] for number in range(3))
    top, bottom, middle = (_fitted(count, sums[:, first : first + 4]) for first in (3, 7, 11))
    return _Chains(
        left=left,
        right=right,
        inset=width / 2,
        top=top,
        bottom=bottom,
        middle=middle,
        height=height / count,
        score=score / count,
    )


def _along(values: tf.Tensor, right: tf.Tensor, successors: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
    """Return the sums of `values` [n, k] and the greatest of `right` [n] over each box and all that follow it.

    By pointer doubling: before step k a row covers 2 ** k boxes, and `successors` has the first that it does not cover.
    """
    size = tf.shape(values)[0]
    values, right = padded(values, size + 1), padded(right, size + 1)
    successors = tf.concat([successors, [size]], axis=0)  # the last row stands for none
    for _ in range(_DOUBLINGS):
        values += tf.gather(values, successors)
        right = tf.maximum(right, tf.gather(right, successors))
        successors = tf.gather(successors, successors)
    return values[:size], right[:size]


def _fitted(count: tf.Tensor, sums: tf.Tensor) -> _Fit:
    """Return the fit to points, given their number [chains] and the sums of x, y, x * x and x * y [chains, 4]."""
    x, y, xx, xy = tf.unstack(sums, num=4, axis=1)
    slope = (count * xy - x * y) / (count * xx - x * x)
    return _Fit(slope, (y - slope * x) / count)


def _upright(chains: _Chains, info: tf.Tensor) -> tf.Tensor:
    """Return the rectangle around each chain, inside of the page, float64 [chains, 8]."""
    first, last = chains.left + chains.inset, chains.right - chains.inset
    top = tf.minimum(chains.top.at(first), chains.top.at(last))
    bottom = tf.maximum(chains.bottom.at(first), chains.bottom.at(last))
    boxes = clipped(tf.stack([chains.left, top, chains.right, bottom], axis=1), info)
    return tf.gather(boxes, [0, 1, 2, 1, 2, 3, 0, 3], axis=1)


def _slanted(chains: _Chains) -> tf.Tensor:
    """Return the rotated rectangle along the middle of each chain, float64 [chains, 8].

    It contains the parallelogram with upright sides: the top and the bottom are made longer, each at one end.
    """
    height = chains.height + _MARGIN
    top_left, top_right = (chains.middle.at(x) - height / 2 for x in (chains.left, chains.right))
    run, rise = chains.right - chains.left, top_right - top_left
    part = height * rise / (run * run + rise * rise)
    up, down = tf.minimum(part, 0), tf.maximum(part, 0)  # one of them is 0
    corners = [
        (chains.left + up * run, top_left + up * rise),
        (chains.right + down * run, top_right + down * rise),
        (chains.right - up * run, top_right + height - up * rise),
        (chains.left - down * run, top_left + height - down * rise),
    ]
    return tf.stack([value for corner in corners for value in corner], axis=1)


def _is_line(quads: tf.Tensor, scores: tf.Tensor, rules: LineRules) -> tf.Tensor:
    """Whether shape and score are as the rules ask, bool [chains]; sides are in inclusive pixels."""
    x1, y1, x2, y2, x3, y3, x4, y4 = tf.unstack(quads, axis=1)
    height = (tf.abs(y4 - y1) + tf.abs(y3 - y2)) / 2 + 1
    width = (tf.abs(x2 - x1) + tf.abs(x3 - x4)) / 2 + 1
    is_long = tf.logical_and(width / height > rules.min_aspect_ratio, width > rules.min_width)
    return tf.logical_and(is_long, scores > rules.min_score)
