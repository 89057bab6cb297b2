"""The part that the CTC beam searches share: prefixes [batch, beam_width], their scores, and backtracking."""

from __future__ import annotations

from typing import Any, Tuple

from ckpt2saved.ctc.prefixes import DEAD, ZERO, Beams, Kept, Stays, pick, search
from ckpt2saved.graph.tf1 import tf

# A prefix is known by a number: number(prefix + label) = number(prefix) * _GROW + label * _SPREAD + 1, modulo 2 ** 64.
_ROOT, _NOBODY = 1, 3
_GROW, _SPREAD = 0x5851F42D4C957F2D, 0x2545F4914F6CDD1D


class PrefixSearch:
    """The prefixes of a beam search over `logits` [time, batch, classes], and their CTC scores without extension."""

    def __init__(self, logits: tf.Tensor, width: int) -> None:
        self.width = width
        self.logits = logits
        self.flat = tf.reshape(logits, [-1])
        self.dtype = logits.dtype
        self.steps, self.batch = tf.shape(logits)[0], tf.shape(logits)[1]
        self.classes = tf.shape(logits, out_type=tf.int64)[2]
        self.item = tf.range(self.batch)[:, None]
        self.item_row = self.item * width
        self.places = tf.range(width) + tf.zeros_like(self.item)
        self.beam_row = tf.tile(self.item_row, [1, width])
        self.zeros = tf.fill([self.batch, width], self.number(ZERO))

    def number(self, value: float) -> tf.Tensor:
        """Return a constant of the logits' dtype."""
        return tf.constant(value, self.dtype)

    def rows(self) -> tf.Tensor:
        """Return the places of each step's and item's first logit, int64 [time, batch]."""
        rows = tf.range(tf.cast(self.steps * self.batch, tf.int64)) * self.classes
        return tf.reshape(rows, [self.steps, self.batch])

    def start(self) -> Beams:
        """Return the beams before the first step: the empty prefix."""
        shape = [self.batch, self.width]
        first = tf.tile(tf.equal(tf.range(self.width), 0)[None], [self.batch, 1])
        return Beams(
            total=tf.where(first, tf.zeros(shape, self.dtype), self.zeros),
            blank=self.zeros,
            label=self.zeros,
            last=tf.fill(shape, self.classes - 1),
            name=tf.where(first, tf.fill(shape, int64(_ROOT)), tf.fill(shape, int64(_NOBODY - 1))),
            parent=tf.fill(shape, int64(_NOBODY)),
        )

    def stay(self, beams: Beams, row: tf.Tensor, greatest: tf.Tensor, blank: tf.Tensor) -> Stays:
        """Return the scores of the prefixes without extension.

        `row`, `greatest` and `blank` are those of a Step, or the same as [batch, 1].
        """
        last_score = tf.maximum(tf.gather(self.flat, row + beams.last) - greatest, ZERO)
        names, order = tf.nn.top_k(beams.name, self.width)
        parent_row = tf.minimum(search(-names, -beams.parent), self.width - 1) + self.beam_row
        has_parent = tf.equal(pick(names, parent_row), beams.parent)
        parent = pick(order, parent_row)
        parent_row = parent + self.beam_row
        repeats = tf.equal(pick(beams.last, parent_row), beams.last)
        from_parent = tf.where(repeats, pick(beams.blank, parent_row), pick(beams.total, parent_row))
        from_parent = tf.where(has_parent, from_parent, self.zeros)
        label = log_add(beams.label, from_parent) + last_score
        blank = beams.total + blank
        return Stays(
            total=log_add(blank, label),
            blank=blank,
            label=label,
            last_score=last_score,
            parent=parent,
            has_parent=has_parent,
            from_parent=from_parent,
            repeats=repeats,
        )

    def move(self, beams: Beams, stays: Stays, kept: Kept) -> Beams:
        """Return the beams after a step that kept `kept`."""
        row = kept.source
        name = pick(beams.name, row)
        longer = name * int64(_GROW) + (kept.last * int64(_SPREAD) + 1)
        parent = tf.where(kept.stayed, pick(beams.parent, row), name)
        alive = kept.total > DEAD
        return Beams(
            total=kept.total,
            blank=tf.where(kept.stayed, pick(stays.blank, row), self.zeros),
            label=tf.where(kept.stayed, pick(stays.label, row), kept.total),
            last=kept.last,
            # A prefix of probability 0 loses its number, since the same text may be added again in another place.
            name=tf.where(alive, tf.where(kept.stayed, name, longer), tf.fill(tf.shape(name), int64(_NOBODY - 1))),
            parent=tf.where(alive, parent, tf.fill(tf.shape(parent), int64(_NOBODY))),
        )


def trace_back(sources: tf.Tensor, labels: tf.Tensor, lengths: tf.Tensor, ends: tf.Tensor) -> tf.Tensor:
    """Return the labels of the paths that end at the beams `ends` [batch, paths], int64 [time, batch, paths].

    `sources` and `labels` [time, batch, beam_width] are where each beam came from and what it was extended by; -1 is no
    label. `ends` and `sources` are indices in [batch * beam_width].
    """
    steps, batch, width = tf.unstack(tf.shape(sources))
    sources, labels = tf.reshape(sources, [-1]), tf.reshape(labels, [-1])

    def step(t: tf.Tensor, place: tf.Tensor, places: tf.TensorArray) -> Tuple[Any, ...]:
        row = place + t * (batch * width)
        before = tf.where(t < lengths, tf.gather(sources, row), place)
        return t - 1, before, places.write(t, row)

    places = tf.while_loop(lambda t, *_: t >= 0, step, [steps - 1, ends, tf.TensorArray(tf.int32, steps)])[2]
    found = tf.gather(labels, places.stack())
    during = tf.tile((tf.range(steps)[:, None] < lengths)[:, :, None], [1, 1, tf.shape(ends)[1]])
    return tf.where(during, found, -tf.ones_like(found))


def after_last_step(values: tf.Tensor, lengths: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """Return the `values` [time, batch, beam_width] after each item's last step; `start` for items of length 0."""
    last = tf.stack([tf.maximum(lengths - 1, 0), tf.range(tf.shape(values)[1])], 1)
    return tf.where(lengths > 0, tf.gather_nd(values, last), start)


def checked_paths(labels: tf.Tensor, scores: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
    """Return `labels` and `scores` [batch, paths]; the graph fails where an item has fewer prefixes than paths."""
    enough = tf.Assert(
        tf.reduce_all(scores[:, -1] > DEAD), ["fewer prefixes after some sequence than top_paths", tf.shape(scores)[1]]
    )
    with tf.control_dependencies([enough]):
        return tf.identity(labels), tf.identity(scores)


def log_add(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Return log(exp(a) + exp(b))."""
    greater = tf.maximum(a, b)
    return greater + tf.nn.softplus(tf.minimum(a, b) - greater)


def int64(value: int) -> tf.Tensor:
    """Return an int64 constant."""
    return tf.constant(value, tf.int64)
