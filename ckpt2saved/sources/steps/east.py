"""Quads of text from the score and geometry maps of an EAST detector, as `client/east.py` finds them.

The merging of cells is sequential: a cell's quad is merged into the average of those before it, or starts a new run.
Here it is done in segments, all at once: a segment starts at each cell that does not overlap the one before it.
Afterwards each segment's first cell is compared with the average at the end of the segment before it. Where they
overlap, the two segments are joined, and all is done again. When no two are joined, the answer is that of the
sequential pass.
"""

from __future__ import annotations

from typing import Callable, Dict, List, Tuple

from ckpt2saved.graph.tf1 import tf
from ckpt2saved.signature.detection import EastRules
from ckpt2saved.sources.steps.pages import each_page

_ROUNDS = 8  # of segments that are joined; then all cells are one segment, so that time is bounded
_ENLARGED = 1e-7  # the part by which a quad is larger when it is compared
_FAR = 1e6  # pixels: larger coordinates would cost the sums of others their precision
_PAIRS = 65536  # of quads, that are compared at once
_QUADS = 64  # that are drawn at once


def east_quads(score: tf.Tensor, geometry: tf.Tensor, im_info: tf.Tensor, rules: EastRules) -> Dict[str, tf.Tensor]:
    """Return `quads` float32 [batch, most, 8], `scores` float32 [batch, most], `count` int32 [batch]; padded with 0.

    `score` is float32 [batch, rows, columns, 1], `geometry` float32 [batch, rows, columns, 5 or 8], as `client/east.py`
    documents. `im_info` float32 [batch, 3] is each page's height and width, and a scale that is not used: cells beyond
    them are padding. Corners are x and y in pixels of the network's input, clockwise from the text's top left. The quad
    with the greatest sum of scores comes first. Every page gets the answer that it gets alone.
    """

    def of_page(score: tf.Tensor, geometry: tf.Tensor, info: tf.Tensor) -> Tuple[tf.Tensor, ...]:
        return _of_page(score[:, :, 0], geometry, info, rules)

    return each_page(of_page, [score, geometry, im_info], rules.results)


def _of_page(
    score: tf.Tensor, geometry: tf.Tensor, info: tf.Tensor, rules: EastRules
) -> Tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    size = tf.math.ceil(tf.minimum(info[:2], 2.0**30) / rules.stride)
    size = tf.maximum(tf.cast(size, tf.int32), 0)  # a size that is no number becomes the least one
    score, geometry = score[: size[0], : size[1]], geometry[: size[0], : size[1]]
    quads, weights = _text_cells(score, geometry, rules)
    quads, weights = _merged(quads, weights, rules.max_overlap)
    quads = tf.cast(_distinct(quads, weights, rules), tf.float32)
    means = _means_under(quads, score, rules.stride)
    kept = means > rules.min_mean_score
    quads = tf.reshape(tf.boolean_mask(quads, kept), [-1, 8])
    means = tf.boolean_mask(means, kept)
    count = tf.size(means)
    padding = rules.most - count
    quads, means = tf.pad(quads, [[0, padding], [0, 0]]), tf.pad(means, [[0, padding]])
    quads.set_shape([rules.most, 8])
    means.set_shape([rules.most])
    return quads, means, count


def _text_cells(score: tf.Tensor, geometry: tf.Tensor, rules: EastRules) -> Tuple[tf.Tensor, tf.Tensor]:
    """Return corners float64 [n, 4, 2] and scores float64 [n] of the cells that are text, row by row."""
    columns = tf.shape(score)[1]
    values = tf.reshape(score, [-1])
    place = tf.where(tf.logical_and(values > rules.min_score, tf.math.is_finite(values)))[:, 0]
    best = tf.math.top_k(tf.gather(values, place), tf.minimum(tf.size(place), rules.most_cells)).indices
    place = tf.cast(tf.gather(place, tf.sort(best)), tf.int32)
    pixels = tf.stack([tf.math.floormod(place, columns), tf.math.floordiv(place, columns)], 1) * rules.stride
    channels = int(geometry.shape[-1])
    geometry = tf.gather(tf.reshape(geometry, [-1, channels]), place)
    quads = _corners(tf.cast(pixels, tf.float64), tf.cast(geometry, tf.float64))
    fit = _is_sound(quads)
    return tf.boolean_mask(quads, fit), tf.cast(tf.boolean_mask(tf.gather(values, place), fit), tf.float64)


def _corners(pixels: tf.Tensor, geometry: tf.Tensor) -> tf.Tensor:
    """Return [n, 4, 2], the corners of `pixels` [n, 2] (x, y) with `geometry` [n, 5 or 8]."""
    if int(geometry.shape[1]) == 8:
        return pixels[:, None] - tf.reshape(geometry, [-1, 4, 2])
    top, right, bottom, left, angle = tf.unstack(geometry, axis=1)
    along = tf.stack([-left, right, right, -left], 1)
    down = tf.stack([-top, -top, bottom, bottom], 1)
    cosine, sine = tf.cos(angle)[:, None], tf.sin(angle)[:, None]
    return tf.stack(
        [pixels[:, :1] + along * cosine + down * sine, pixels[:, 1:] - along * sine + down * cosine], axis=2
    )


def _is_sound(quads: tf.Tensor) -> tf.Tensor:
    """Return for each of `quads` [n, 4, 2] whether it turns right at every corner, near the page; False for NaN."""
    sides = tf.roll(quads, -1, axis=1) - quads
    following = tf.roll(sides, -1, axis=1)
    turns = sides[..., 0] * following[..., 1] - sides[..., 1] * following[..., 0]
    return tf.logical_and(tf.reduce_all(turns > 0, axis=1), tf.reduce_all(tf.abs(quads) < _FAR, axis=[1, 2]))


def overlaps(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """Return the intersection over union [n] of convex quads [n, 4, 2], pair by pair; corners clockwise, float64.

    The intersection's border is the part of each quad's sides that lies in the other quad (Cyrus and Beck 1978), and
    its area follows from that border by Green's theorem.
    """
    # Two sides on the same line would count twice, or not at all, as rounding has it.
    second = second + (second - tf.reduce_mean(second, axis=1, keepdims=True)) * _ENLARGED
    origin = first[:, :1]
    quads = tf.stack([first - origin, second - origin])  # [2, n, 4, 2]
    sides = tf.concat([quads[:, :, 1:], quads[:, :, :1]], axis=2) - quads
    x, y = tf.unstack(quads, axis=3)
    along_x, along_y = tf.unstack(sides, axis=3)
    areas = x * along_y - y * along_x  # [2, n, 4], each side's part of twice its quad's area
    # From here on [2, n, 4, 4]: each side, against the line of each side of the other quad.
    others = tf.reverse(tf.stack([along_x, along_y, areas]), [1])[:, :, :, None, :]
    other_x, other_y, distance = others[0], others[1], others[2]
    distance = distance + other_x * y[..., None] - other_y * x[..., None]  # times the other side's length
    change = other_x * along_y[..., None] - other_y * along_x[..., None]
    part = -distance / tf.abs(change)  # infinite where the two are parallel
    enters = change >= 0
    start = tf.maximum(tf.reduce_max(tf.where(enters, part, tf.zeros_like(part)), axis=3), 0.0)
    end = tf.minimum(tf.reduce_min(tf.where(enters, tf.ones_like(part), -part), axis=3), 1.0)
    shared = tf.reduce_sum(tf.maximum(end - start, 0.0) * areas, axis=[0, 2])
    return shared / (tf.reduce_sum(areas, axis=[0, 2]) - shared)


def _merged(quads: tf.Tensor, weights: tf.Tensor, max_overlap: float) -> Tuple[tf.Tensor, tf.Tensor]:
    """Return the weighted averages [m, 4, 2] of runs of `quads` [n, 4, 2], and their sums of `weights` [n]."""
    # One more quad, far from all others, so that there is always one.
    quads = tf.concat([quads, tf.constant([[[0, 0], [1, 0], [1, 1], [0, 1]]], tf.float64) - 1e9], 0)
    weights = tf.concat([weights, tf.ones([1], tf.float64)], 0)
    size = tf.shape(quads)[0]
    first_only = tf.range(size) < 1
    starts = tf.concat([[True], overlaps(quads[:-1], quads[1:]) <= max_overlap], 0)

    def join(
        times: tf.Tensor, starts: tf.Tensor, averages: tf.Tensor, joins: tf.Tensor, _: tf.Tensor
    ) -> Tuple[tf.Tensor, ...]:
        averages, joins = _in_segments(quads, weights, starts, max_overlap)
        place = tf.where(starts)[1:]
        before = tf.reshape(tf.gather(averages[:, :8], place[:, 0] - 1), [-1, 4, 2])
        place = tf.boolean_mask(place, overlaps(before, tf.gather(quads, place[:, 0])) > max_overlap)
        wrong = tf.scatter_nd(tf.cast(place, tf.int32), tf.ones_like(place[:, 0], tf.int32), size[None]) > 0
        right = tf.logical_and(tf.logical_and(starts, tf.logical_not(wrong)), times < _ROUNDS)
        starts = tf.logical_or(right, first_only)
        return times + 1, starts, averages, joins, tf.size(place) > 0

    averages, joins = tf.while_loop(
        lambda *variables: variables[-1],
        join,
        [tf.constant(0), starts, tf.zeros([size, 9], tf.float64), first_only, tf.constant(True)],
        parallel_iterations=1,
    )[2:4]
    runs = tf.boolean_mask(averages[:-1], tf.logical_not(joins[1:]))
    return tf.reshape(runs[:, :8], [-1, 4, 2]), runs[:, 8]


def _in_segments(
    quads: tf.Tensor, weights: tf.Tensor, starts: tf.Tensor, max_overlap: float
) -> Tuple[tf.Tensor, tf.Tensor]:
    """Return of each of `quads` [n, 4, 2] the average with its run so far, and whether it joined the one before it.

    Averages are [n, 9]: corners and the sum of weights. `starts` bool [n] are the quads that join nothing; the last
    quad is one of them.
    """
    # As if all quads of a segment joined, which is so in most texts: then averages are quotients of sums.
    segment = tf.cumsum(tf.cast(starts, tf.int32)) - 1
    first = tf.cast(tf.where(starts)[:, 0], tf.int32)
    sums = tf.cumsum(tf.concat([tf.reshape(quads, [-1, 8]) * weights[:, None], weights[:, None]], 1), axis=0)
    sums -= tf.gather(tf.pad(sums, [[1, 0], [0, 0]]), tf.gather(first, segment))
    averages = tf.concat([sums[:, :8] / sums[:, 8:], sums[:, 8:]], 1)
    apart = overlaps(tf.reshape(averages[:-1, :8], [-1, 4, 2]), quads[1:]) <= max_overlap
    apart = tf.logical_and(tf.concat([[False], apart], 0), tf.logical_not(starts))
    # The segments in which some quad does not join, step by step; and the last, so that there is always one.
    number = tf.size(first)
    is_mixed = tf.logical_or(
        tf.math.segment_sum(tf.cast(apart, tf.int32), segment) > 0, tf.equal(tf.range(number), number - 1)
    )
    lengths = tf.concat([first[1:], tf.shape(quads)[:1]], 0) - first
    places, stepped = _step_by_step(
        quads, weights, tf.boolean_mask(first, is_mixed), tf.boolean_mask(lengths, is_mixed), max_overlap
    )
    stepped = tf.scatter_nd(places[:, None], stepped, tf.stack([tf.shape(quads)[0], 10]))
    is_mixed = tf.gather(is_mixed, segment)
    joins = tf.logical_and(tf.logical_not(starts), tf.logical_or(tf.logical_not(is_mixed), stepped[:, 9] > 0))
    return tf.where(is_mixed, stepped[:, :9], averages), joins


def _step_by_step(
    quads: tf.Tensor, weights: tf.Tensor, first: tf.Tensor, lengths: tf.Tensor, max_overlap: float
) -> Tuple[tf.Tensor, tf.Tensor]:
    """Return places [m] of the quads in the segments at `first` [s], and [m, 10]: averages [m, 9], 1 if it joined."""
    # The longest segments come first: at each step those that are not at their end are the first ones.
    lengths, order = tf.math.top_k(lengths, tf.size(lengths))
    first = tf.gather(first, order)
    steps = lengths[0]

    def step(
        t: tf.Tensor, averages: tf.Tensor, sums: tf.Tensor, made: tf.TensorArray, places: tf.TensorArray
    ) -> Tuple[tf.Tensor, ...]:
        going = tf.reduce_sum(tf.cast(lengths > t, tf.int32))
        place = first[:going] + t
        quad, weight = tf.gather(quads, place), tf.gather(weights, place)
        averages, sums = averages[:going], sums[:going]
        joins = tf.logical_and(overlaps(averages, quad) > max_overlap, t > 0)
        total = tf.where(joins, sums + weight, weight)
        mixed = (averages * sums[:, None, None] + quad * weight[:, None, None]) / total[:, None, None]
        averages = tf.where(joins, mixed, quad)
        row = [tf.reshape(averages, [-1, 8]), total[:, None], tf.cast(joins, tf.float64)[:, None]]
        return t + 1, averages, total, made.write(t, tf.concat(row, 1)), places.write(t, place)

    made = tf.TensorArray(tf.float64, steps, infer_shape=False, element_shape=[None, 10])
    places = tf.TensorArray(tf.int32, steps, infer_shape=False, element_shape=[None])
    *_, made, places = tf.while_loop(
        lambda t, *_: t < steps,
        step,
        [tf.constant(0), tf.gather(quads, first), tf.gather(weights, first), made, places],
        parallel_iterations=1,
    )
    return places.concat(), made.concat()


def _distinct(quads: tf.Tensor, weights: tf.Tensor, rules: EastRules) -> tf.Tensor:
    """Return those of `quads` [n, 4, 2] that overlap no other one with a greater weight that is returned."""
    number = tf.minimum(tf.size(weights), rules.most_before_nms)
    quads = tf.gather(quads, tf.math.top_k(weights, number).indices)
    low, high = tf.unstack(tf.reduce_min(quads, axis=1), axis=1), tf.unstack(tf.reduce_max(quads, axis=1), axis=1)

    def rows(start: tf.Tensor, end: tf.Tensor) -> tf.Tensor:
        """Which of the quads overlap those from `start` to `end`, 0 or 1."""
        near = tf.range(start, end)[:, None] < tf.range(number)
        for least, most in zip(low, high):
            near = tf.logical_and(near, least[start:end, None] < most)
            near = tf.logical_and(near, most[start:end, None] > least)
        pairs = tf.where(near)
        found = overlaps(tf.gather(quads, pairs[:, 0] + tf.cast(start, tf.int64)), tf.gather(quads, pairs[:, 1]))
        shape = tf.stack([end - start, number])
        return tf.scatter_nd(pairs, tf.cast(found > rules.max_overlap, tf.float32), tf.cast(shape, tf.int64))

    above = _in_blocks(rows, number, tf.maximum(_PAIRS // tf.maximum(number, 1), 1), [None])
    ranks = tf.cast(tf.range(number, 0, -1), tf.float32)
    # With a diagonal of 0, TensorFlow 1.15 returns the first one again and again.
    itself = tf.equal(tf.range(number)[:, None], tf.range(number))
    matrix = above + tf.transpose(above) + tf.cast(itself, tf.float32)
    kept = tf.image.non_max_suppression_overlaps(matrix, ranks, rules.most, overlap_threshold=0.5)
    return tf.gather(quads, kept)


def _means_under(quads: tf.Tensor, score: tf.Tensor, stride: int) -> tf.Tensor:
    """Return float32 [n], the mean of `score` [rows, columns] under each of `quads` float32 [n, 4, 2]."""
    size = tf.shape(score)
    values = tf.cast(score, tf.float64)
    values = tf.where(tf.math.is_finite(values), values, tf.zeros_like(values))
    sums = tf.reshape(tf.pad(tf.cumsum(values, axis=1), [[0, 0], [1, 0]]), [-1])  # of each row, up to each column
    # Each side as a line of Bresenham (1965), from its left end to its right end.
    cells = tf.cast(tf.math.floordiv(tf.cast(quads, tf.int32), stride), tf.float64)
    following = tf.roll(cells, -1, axis=1)
    left, right = tf.minimum(cells[..., 0], following[..., 0]), tf.maximum(cells[..., 0], following[..., 0])
    begin = tf.where(cells[..., 0] <= following[..., 0], cells[..., 1], following[..., 1])
    top, bottom = tf.minimum(cells[..., 1], following[..., 1]), tf.maximum(cells[..., 1], following[..., 1])
    row = tf.range(size[0])[None, :]
    row_y = tf.cast(row, tf.float64)[..., None]

    def means(start: tf.Tensor, end: tf.Tensor) -> tf.Tensor:
        x, y, above, below = (values[start:end, None] for values in (left, begin, top, bottom))
        width, height = right[start:end, None] - x, below - above
        double = tf.maximum(2.0 * height, 0.5)
        down = 2.0 * tf.abs(row_y - y)  # [n, rows, 4]
        column = tf.math.ceil(down * width / double - 0.5)  # halves are rounded to the left
        is_flat = tf.broadcast_to(width >= height, tf.shape(column))
        first = tf.where(
            is_flat, tf.minimum(tf.maximum(tf.floor((down - 1.0) * width / double) + 1.0, 0.0), width), column
        )
        last = tf.where(is_flat, tf.minimum(tf.floor((down + 1.0) * width / double), width), column)
        crosses = tf.logical_and(above <= row_y, below >= row_y)
        nowhere = tf.fill(tf.shape(crosses), tf.constant(1e9, tf.float64))
        first = tf.reduce_min(tf.where(crosses, x + first, nowhere), axis=2)
        behind = tf.reduce_max(tf.where(crosses, x + last, -nowhere), axis=2) + 1.0
        first = tf.maximum(tf.minimum(tf.cast(first, tf.int32), size[1]), 0)
        behind = tf.maximum(tf.minimum(tf.cast(behind, tf.int32), size[1]), first)
        base = row * (size[1] + 1)
        total = tf.reduce_sum(tf.gather(sums, base + behind) - tf.gather(sums, base + first), axis=1)
        number = tf.cast(tf.reduce_sum(behind - first, axis=1), tf.float64)
        return tf.cast(total / tf.maximum(number, 1.0), tf.float32)

    return _in_blocks(means, tf.shape(quads)[0], _QUADS, [])


def _in_blocks(
    made: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], total: tf.Tensor, size: tf.Tensor, row: List[None]
) -> tf.Tensor:
    """Return the float32 rows `made(start, end)` of all `total` rows, made `size` at a time, for bounded memory.

    `row` is the static shape of a row.
    """
    steps = tf.maximum((total + size - 1) // size, 1)  # a TensorArray without elements cannot be joined
    blocks = tf.while_loop(
        lambda t, _: t < steps,
        lambda t, blocks: (t + 1, blocks.write(t, made(t * size, tf.minimum((t + 1) * size, total)))),
        [tf.constant(0), tf.TensorArray(tf.float32, steps, infer_shape=False, element_shape=[None, *row])],
        parallel_iterations=1,
    )[1]
    return blocks.concat()
