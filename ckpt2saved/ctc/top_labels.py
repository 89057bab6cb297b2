"""The best labels of every step of CTC logits, in about one pass over the logits."""

from __future__ import annotations

from typing import NamedTuple, Optional, Sequence, Tuple

from ckpt2saved.graph.tf1 import tf

# With more classes than these, and than these for each label that is searched, block maxima are faster than one top_k
# over the whole row, and with more than the last number blocks of blocks. Both need a row to be several of them wide.
_CLASSES, _CLASSES_PER_LABEL, _CLASSES_PER_LABEL_OF_BLOCKS = 1000, 30, 200


class Best(NamedTuple):
    """The best labels of each step and item; scores are relative to the step's greatest logit, blank included."""

    labels: tf.Tensor  # int64 [time, batch, k], the best first, ties by label; the blank's where there are too few
    scores: tf.Tensor  # [time, batch, k], at most 0; -infinity where there are too few
    blank: tf.Tensor  # [time, batch], the blank's score
    greatest: tf.Tensor  # [time, batch], the greatest logit
    usable: tf.Tensor  # bool [time, batch], False where a NaN or infinity makes every probability a NaN


def best_labels(logits: tf.Tensor, k: int) -> Best:
    """Return the `k` best labels, without the blank, of every step of `logits` [time, batch, classes]."""
    shape = tf.shape(logits)
    time, batch, classes = shape[0], shape[1], shape[2]
    rows = tf.reshape(logits, [-1, classes])
    known = logits.shape[2].value if hasattr(logits.shape[2], "value") else logits.shape[2]
    many = max(_CLASSES, k * _CLASSES_PER_LABEL)
    sizes = _block_sizes(k, known)
    if known is None:
        values, labels, broken = tf.cond(
            classes > many, lambda: _search_blocks(rows, classes, k, sizes), lambda: _search_rows(rows, classes, k)
        )
    elif known > many:
        values, labels, broken = _search_blocks(rows, classes, k, sizes)
    else:
        values, labels, broken = _search_rows(rows, classes, k)
    blank = _column(logits, rows, classes)
    greatest = tf.maximum(values[:, 0], tf.where(tf.is_nan(blank), tf.fill(tf.shape(blank), _inf(blank)), blank))
    usable = tf.logical_and(tf.is_finite(greatest), tf.logical_not(broken))
    greatest = tf.where(usable, greatest, tf.zeros_like(greatest))
    outer = tf.stack([time, batch])
    return Best(
        labels=tf.reshape(labels, [time, batch, k]),
        scores=tf.reshape(values - greatest[:, None], [time, batch, k]),
        blank=tf.reshape(blank - greatest, outer),
        greatest=tf.reshape(greatest, outer),
        usable=tf.reshape(usable, outer),
    )


def _column(logits: tf.Tensor, rows: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
    """Return the blank's logits [rows], the last column; gathered, since slicing one column is slow."""
    count = tf.shape(rows)[0]
    last = tf.range(tf.cast(count, tf.int64)) * tf.cast(classes, tf.int64) + tf.cast(classes - 1, tf.int64)
    return tf.gather(tf.reshape(logits, [-1]), last)


def _inf(like: tf.Tensor) -> tf.Tensor:
    return tf.constant(float("inf"), like.dtype)


def _search_rows(rows: tf.Tensor, classes: tf.Tensor, k: int) -> Tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return values [rows, k], labels [rows, k] and a mask of rows with NaN, for few classes or many labels."""
    broken = tf.is_nan(tf.reduce_sum(rows, 1))
    # top_k may not see a NaN: it would sort by an order that is none.
    rows = tf.cond(
        tf.reduce_any(broken), lambda: tf.where(broken, tf.zeros_like(rows), rows), lambda: tf.identity(rows)
    )
    values, labels = tf.nn.top_k(rows, tf.minimum(k + 1, classes))
    # Without the blank: the columns after it move up.
    column = tf.range(tf.shape(values)[1] - 1)
    from_blank_on = tf.cumsum(tf.cast(tf.equal(labels, classes - 1), tf.int32), 1)[:, :-1]
    source = tf.range(tf.shape(values)[0])[:, None] * tf.shape(values)[1] + column + from_blank_on
    missing = [[0, 0], [0, k - tf.size(column)]]
    values = tf.gather(tf.reshape(values, [-1]), source)
    labels = tf.gather(tf.reshape(labels, [-1]), source)
    values = tf.concat([values, tf.fill([tf.shape(values)[0], k - tf.size(column)], -_inf(values))], 1)
    labels = tf.pad(labels - (classes - 1), missing) + (classes - 1)
    return values, tf.cast(labels, tf.int64), broken


def _block_sizes(k: int, classes: Optional[int]) -> Sequence[int]:
    """Return the sizes of blocks of labels, of blocks of these, and so on, that are the fastest."""
    if k == 2:
        return 32, 8
    return (16, 8) if classes is not None and classes > k * _CLASSES_PER_LABEL_OF_BLOCKS else (16,)


def _search_blocks(
    rows: tf.Tensor, classes: tf.Tensor, k: int, sizes: Sequence[int]
) -> Tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return the same as _search_rows, for many classes."""
    classes = tf.cast(classes, tf.int64)
    first = tf.range(tf.shape(rows, out_type=tf.int64)[0]) * classes
    without_blank = _Ranges(first, first + classes - 1, classes - 1)
    values, positions = _largest(tf.reshape(rows, [-1]), without_blank, k, sizes)
    labels = tf.where(values > -_inf(values), positions - first[:, None], tf.fill(tf.shape(positions), classes - 1))
    return values, labels, _hidden_nan(rows)


def _hidden_nan(rows: tf.Tensor) -> tf.Tensor:
    """Return the rows whose NaN block maxima do not show: reduce_max of TensorFlow 1 skips NaN."""
    probe = tf.reduce_max(tf.constant([[0.0] * 3 + [float("nan")] + [0.0] * 28], rows.dtype), 1)
    return tf.cond(
        tf.is_nan(probe)[0],
        lambda: tf.fill(tf.shape(rows)[:1], False),
        lambda: tf.is_nan(tf.reduce_sum(rows, 1)),
    )


class _Ranges(NamedTuple):
    """A range of a vector for each row."""

    first: tf.Tensor  # int64 [rows]
    last: tf.Tensor  # int64 [rows], not included
    width: tf.Tensor  # int64 scalar: no range is longer

    def whole_blocks(self, size: int) -> _Ranges:
        """The ranges of whole blocks inside of these, in a vector of blocks."""
        return _Ranges((self.first + size - 1) // size, self.last // size, self.width // size)


def _largest(values: tf.Tensor, ranges: _Ranges, k: int, blocks: Sequence[int]) -> Tuple[tf.Tensor, tf.Tensor]:
    """Return the `k` largest of the range of `values` for each row, descending, ties by position.

    `values` is a vector. Each size in `blocks` is one level of block maxima, from fine to coarse; ranges must be at
    least three of the coarsest blocks long. Returns values and positions, both [rows, k]; positions are meaningless
    where the value is -infinity. NaN counts as +infinity.
    """
    if not blocks:
        return _largest_directly(values, ranges, k)
    size = blocks[0]
    first, last, _ = ranges
    whole = tf.size(values, out_type=tf.int64) // size
    table = tf.reshape(values[: whole * size], [-1, size])
    inner = ranges.whole_blocks(size)
    value, chosen = _largest(tf.reduce_max(table, 1), inner, k, blocks[1:])
    chosen = tf.where(value > -_inf(value), chosen, tf.fill(tf.shape(chosen), tf.constant(-1, tf.int64)))
    chosen = -tf.nn.top_k(-chosen, k)[0]
    step = tf.range(size, dtype=tf.int64)
    lowest = tf.fill(tf.concat([tf.shape(first), [size]], 0), -_inf(values))
    head = tf.gather(table, tf.maximum(inner.first - 1, 0))
    head = tf.where(step >= (first - (inner.first - 1) * size)[:, None], head, lowest)
    middle = _middle(table, chosen, k, size)
    tail = tf.where(step < (last % size)[:, None], _tail(values, table, inner.last, size), lowest)
    candidates = _nan_first(tf.concat([head, middle, tail], 1))
    if k > 2:
        # The k best blocks have k values that reach the lowest of their maxima. The fewer of the others there are, the
        # fewer top_k has to sort in.
        lowest = tf.fill(tf.shape(candidates), -_inf(values))
        candidates = tf.where(candidates < value[:, -1:], lowest, candidates)
    found, index = _top(candidates, k)
    slots = tf.concat([inner.first[:, None] - 1, chosen, inner.last[:, None]], 1)
    slot = tf.range(tf.size(first))[:, None] * (k + 2) + index // size
    position = tf.gather(tf.reshape(slots, [-1]), slot) * size + tf.cast(index % size, tf.int64)
    return found, position


def _top(values: tf.Tensor, k: int) -> Tuple[tf.Tensor, tf.Tensor]:
    """Return the result of tf.nn.top_k; k=2 is computed as two searches with k=1, which are ten times faster."""
    if k != 2:
        largest, places = tf.nn.top_k(values, k)
        return largest, places
    best, first = tf.nn.top_k(values, 1)
    lowest = tf.fill(tf.shape(values), -_inf(values))
    rest = tf.where(tf.equal(tf.range(tf.shape(values)[1]), first), lowest, values)
    second_best, second = tf.nn.top_k(rest, 1)
    return tf.concat([best, second_best], 1), tf.concat([first, second], 1)


def _nan_first(values: tf.Tensor) -> tf.Tensor:
    """Replace NaN by +infinity if reduce_max shows it, so that the search reaches that step."""
    return tf.cond(
        tf.is_nan(tf.reduce_max(values)),
        lambda: tf.where(tf.is_nan(values), tf.fill(tf.shape(values), _inf(values)), values),
        lambda: tf.identity(values),
    )


def _middle(table: tf.Tensor, chosen: tf.Tensor, k: int, size: int) -> tf.Tensor:
    """Return the blocks `chosen` [rows, k] of `table`, -infinity for -1."""
    blocks = tf.gather(table, tf.reshape(tf.maximum(chosen, 0), [-1]))
    absent = tf.reshape(chosen < 0, [-1])
    blocks = tf.cond(
        tf.reduce_any(absent),
        lambda: tf.where(absent, tf.fill(tf.shape(blocks), -_inf(blocks)), blocks),
        lambda: tf.identity(blocks),
    )
    return tf.reshape(blocks, [-1, k * size])


def _tail(values: tf.Tensor, table: tf.Tensor, index: tf.Tensor, size: int) -> tf.Tensor:
    """Return rows `index` of `table`; the last may be the incomplete block that `table` lacks."""
    start = tf.reduce_sum(index[-1:]) * size
    end = values[start : start + size]
    end = tf.pad(end, [[0, size - tf.size(end)]])
    return tf.concat([tf.gather(table, index[:-1]), end[None][: tf.size(index)]], 0)


def _largest_directly(values: tf.Tensor, ranges: _Ranges, k: int) -> Tuple[tf.Tensor, tf.Tensor]:
    first, last, width = ranges
    position = first[:, None] + tf.range(tf.maximum(width, k))[None]
    found = tf.gather(values, tf.minimum(position, tf.size(values, out_type=tf.int64) - 1))
    lowest = tf.fill(tf.shape(found), -_inf(values))
    found, index = _top(_nan_first(tf.where(position < last[:, None], found, lowest)), k)
    return found, tf.cast(index, tf.int64) + first[:, None]
