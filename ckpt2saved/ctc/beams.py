"""CTC beam search with beam_width > 1, as a loop over tensors [batch, beam_width]."""

from __future__ import annotations

from typing import Any, Tuple

import numpy as np

from ckpt2saved.ctc.forgetting import Forgetting
from ckpt2saved.ctc.prefix_search import PrefixSearch, after_last_step, checked_paths, int64, trace_back
from ckpt2saved.ctc.prefixes import DEAD, ZERO, Beams, Extended, Kept, Stays, Step, pick, search, step_array
from ckpt2saved.ctc.quick_forgetting import FirstLabels, QuickForgetting
from ckpt2saved.ctc.top_labels import Best
from ckpt2saved.graph.tf1 import tf


class _Pairs:
    """Constant tables of the pairs (beam position, label rank) whose extension can survive.

    At most one label of a row can be out of order (the repeated one, which counts only probability after a blank). So
    the extension of position i by rank k is beaten by at least (i + 1) * k - 1 others.
    """

    def __init__(self, width: int) -> None:
        self.k = width + 1
        pairs = [(i, k) for i in range(width) for k in range(width // (i + 1) + 1)]
        self.places = np.array([i for i, _ in pairs], np.int32)
        self.ranks = np.array([k for _, k in pairs], np.int32)
        # Candidates: the stays, the pairs, the repetitions of last labels, and one that never wins.
        self.repeats = width + len(pairs)
        self.nothing = self.repeats + width
        self.count = self.nothing + 1
        beams = np.arange(width, dtype=np.int32)
        self.sources = np.concatenate([beams, self.places, beams, beams[:1]])
        self.rank_of = np.concatenate([0 * beams - 1, self.ranks, 0 * beams - 1, -np.ones(1, np.int32)])
        candidate = np.full((width, self.k), self.nothing, np.int32)
        candidate[self.places, self.ranks] = width + np.arange(len(pairs))
        self.candidate = candidate.ravel()


class BeamSearch(PrefixSearch):
    """The loop body and its constants for one logits tensor.

    A search that is not `exact` leaves some prefixes undecided that the op may forget, which takes a quarter of the time.
    """

    def __init__(self, logits: tf.Tensor, best: Best, width: int, *, exact: bool) -> None:
        super().__init__(logits, width)
        self.exact = exact
        self.k, self.pairs = width + 1, _Pairs(width)
        self.here = self.places + self.beam_row
        self.label_row = self.item * self.k + tf.zeros_like(self.places)
        self.candidate_row = self.item * self.pairs.count + tf.zeros_like(tf.concat([self.places] * 2, 1))
        self.decided = tf.fill([self.batch, width], self.number(-ZERO))
        self.by_row = tf.reshape(logits, [-1, tf.shape(logits)[2]])
        self.first_labels = FirstLabels.of(logits, best.greatest)
        ordered, ranks = tf.nn.top_k(-best.labels, self.k)
        scores = tf.maximum(best.scores, ZERO)
        of_item = [self.rows(), best.greatest, best.blank, scores[:, :, 0], scores[:, :, -1]]
        repeated = [tf.tile(part[:, :, None], [1, 1, width]) for part in of_item]
        self.inputs = [step_array(part) for part in [*repeated, best.labels, scores, -ordered, ranks]]

    def step(self, t: tf.Tensor, beams: Beams) -> Tuple[Beams, Kept, tf.Tensor]:
        """Return the beams after step t, their parents and labels, and the scores [batch, beam_width] of undecided ones.

        An undecided prefix may have been forgotten if its score is below that of the last one that was kept.
        """
        now = Step(t, *[part.read(t) for part in self.inputs])
        stays = self._stay(beams, now)
        if self.exact:
            kept = self._keep(beams, now, stays, self._all(beams, stays))
            kept, undecided = self._forget(beams, now, stays, kept), self.decided
        else:
            extended, undecided = self._extended(beams, now, stays)
            kept = self._keep(beams, now, stays, extended)
        return self.move(beams, stays, kept), kept, undecided

    def _stay(self, beams: Beams, now: Step) -> Stays:
        rank_row = tf.minimum(search(now.ordered, beams.last), self.k - 1) + self.label_row
        return self.stay(beams, now.row, now.greatest, now.blank)._replace(
            rank=pick(now.ranks, rank_row), ranked=tf.equal(pick(now.ordered, rank_row), beams.last)
        )

    def _extended(self, beams: Beams, now: Step, stays: Stays) -> Tuple[Extended, tf.Tensor]:
        """Return what is extended, and the scores of those that are undecided."""
        quick = QuickForgetting(self, beams, now, stays)
        suspects = quick.suspects()

        def without() -> Tuple[tf.Tensor, ...]:
            forgotten, undecided = quick.forgotten(suspects)
            return (*self._without(beams, stays, forgotten), tf.where(undecided, stays.total, self.decided))

        def all_() -> Tuple[tf.Tensor, ...]:
            return tuple(tf.identity(part) for part in (*self._all(beams, stays), self.decided))

        *extended, undecided = tf.cond(tf.reduce_any(suspects), without, all_)
        return Extended(*extended), undecided

    def _all(self, beams: Beams, stays: Stays) -> Extended:
        return Extended(beams.total, beams.blank + stays.last_score, self.places, stays.parent, self.here)

    def _without(self, beams: Beams, stays: Stays, forgotten: tf.Tensor) -> Extended:
        lost = tf.cumsum(tf.cast(forgotten, tf.int32), 1)
        behind = lost + (self.width - 1) - lost[:, -1:]
        position = tf.where(forgotten, behind, self.places - lost)
        source = tf.math.invert_permutation(tf.reshape(position + self.beam_row, [-1]))
        source = tf.reshape(source, tf.shape(position))
        return Extended(
            total=pick(tf.where(forgotten, self.zeros, beams.total), source),
            repeated=tf.where(forgotten, self.zeros, beams.blank + stays.last_score),
            position=position,
            parent=pick(position, stays.parent + self.beam_row),
            source=source,
        )

    def _keep(self, beams: Beams, now: Step, stays: Stays, extended: Extended) -> Kept:
        """Return the best stays and extensions, without duplicate prefixes."""
        pairs = self.pairs
        scores = tf.gather(extended.total, pairs.places, axis=1) + tf.gather(now.scores, pairs.ranks, axis=1)
        scores = tf.concat([stays.total, scores, extended.repeated, self.zeros[:, :1]], 1)
        gone = self._superfluous(beams, stays, extended) + self.candidate_row
        # Sums are ten times as fast as tf.tensor_scatter_update.
        lost = tf.unsorted_segment_sum(tf.fill(tf.shape(gone), self.number(ZERO)), gone, self.batch * pairs.count)
        scores += tf.reshape(lost, [self.batch, pairs.count])
        total, index = tf.nn.top_k(scores, self.width)
        rank = tf.gather(pairs.rank_of, index)
        own = rank < 0
        source = tf.gather(pairs.sources, index) + self.beam_row
        source = tf.where(own, source, pick(extended.source, source))
        label = pick(now.labels, tf.maximum(rank, 0) + self.label_row)
        return Kept(total, source, tf.where(own, pick(beams.last, source), label), index < self.width)

    def _superfluous(self, beams: Beams, stays: Stays, extended: Extended) -> tf.Tensor:
        """Return the places of duplicate candidates [batch, 2 * beam_width].

        A beam that repeats its last label is counted in the stays, and a parent extended by a beam's last label is that
        beam. The empty prefix has no last label.
        """
        pairs = self.pairs
        nothing = tf.fill(tf.shape(stays.rank), pairs.nothing)
        own = tf.where(stays.ranked, tf.gather(pairs.candidate, extended.position * self.k + stays.rank), nothing)
        own = tf.where(tf.equal(beams.last, self.classes - 1), self.places + pairs.repeats, own)
        child = tf.where(stays.ranked, tf.gather(pairs.candidate, extended.parent * self.k + stays.rank), nothing)
        child = tf.where(stays.repeats, stays.parent + pairs.repeats, child)
        return tf.concat([own, tf.where(stays.has_parent, child, nothing)], 1)

    def _forget(self, beams: Beams, now: Step, stays: Stays, kept: Kept) -> Kept:
        """Reproduce the op's loss of prefixes that were in the beam.

        When the op extends a parent to a prefix that was in the beam but dropped out in this step, it clears that
        prefix's previous probabilities and so does not extend it later. A prefix that was processed before its parent
        was extended already.
        """
        beaten = stays.total < kept.total[:, -1:]
        later = stays.parent < self.places
        suspect = tf.logical_and(beaten, tf.logical_and(stays.has_parent, later))
        # It matters only if such a prefix's extension was kept.
        newcomer = tf.logical_and(tf.logical_not(kept.stayed), kept.total > DEAD)
        matters = tf.reduce_any(tf.logical_and(newcomer, pick(suspect, kept.source)), 1, keepdims=True)

        def correct() -> Tuple[tf.Tensor, ...]:
            # Only in items where it matters: with peaked logits those are few of many that have suspects.
            places = tf.where(tf.logical_and(suspect, matters))
            forgotten = Forgetting(self, beams, now, stays, places).forgotten()
            return tuple(self._keep(beams, now, stays, self._without(beams, stays, forgotten)))

        return Kept(*tf.cond(tf.reduce_any(matters), correct, lambda: tuple(tf.identity(part) for part in kept)))


def decode_beams(
    logits: tf.Tensor, best: Best, lengths: tf.Tensor, width: int, paths: int
) -> Tuple[tf.Tensor, tf.Tensor]:
    """Run a beam search with `width` beams for each item.

    Returns the labels of the best `paths` beams, int64 [time, batch, paths] (-1: none), and their log-probabilities
    [batch, paths], relative to the greatest logits of the steps. Items in which it matters what the quick rule left
    undecided are decoded again.
    """
    labels, scores, again = _decode(BeamSearch(logits, best, width, exact=False), lengths, paths)

    def with_some_again() -> Tuple[tf.Tensor, tf.Tensor]:
        items = tf.where(again)
        item = items[:, 0]
        few = Best(*[tf.gather(part, item, axis=1) for part in best])
        search = BeamSearch(tf.gather(logits, item, axis=1), few, width, exact=True)
        exact = _decode(search, tf.gather(lengths, item), paths)
        by_item = [1, 0, 2]
        mended = tf.tensor_scatter_update(tf.transpose(labels, by_item), items, tf.transpose(exact[0], by_item))
        return tf.transpose(mended, by_item), tf.tensor_scatter_update(scores, items, exact[1])

    found = tf.cond(tf.reduce_any(again), with_some_again, lambda: (tf.identity(labels), tf.identity(scores)))
    return checked_paths(*found)


def _decode(decoder: BeamSearch, lengths: tf.Tensor, paths: int) -> Tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return labels and log-probabilities as decode_beams does, and the items [batch] that may differ from the op's."""
    steps, width = decoder.steps, decoder.width
    none = tf.fill([decoder.batch, width], int64(-1))

    def step(t: tf.Tensor, beams: Beams, *arrays: tf.TensorArray) -> Tuple[Any, ...]:
        beams, kept, undecided = decoder.step(t, beams)
        label = tf.where(kept.stayed, none, kept.last)
        written = (kept.total, kept.source, label, undecided)
        return (t + 1, beams, *[array.write(t, part) for array, part in zip(arrays, written)])

    start = decoder.start()
    arrays = [tf.TensorArray(dtype, steps) for dtype in (decoder.dtype, tf.int32, tf.int64, decoder.dtype)]
    done = tf.while_loop(lambda t, *_: t < steps, step, [tf.constant(0), start] + arrays)
    totals, sources, labels, undecided = [array.stack() for array in done[2:]]
    ends = decoder.item_row + tf.range(paths)
    scores = after_last_step(totals, lengths, start.total)[:, :paths]
    # It matters only if an undecided prefix's extension was kept, and itself was not.
    beaten = undecided < totals[:, :, -1:]
    newcomer = tf.logical_and(labels >= 0, totals > DEAD)
    time = tf.range(steps)[:, None, None]
    matters = tf.logical_and(newcomer, pick(beaten, sources + time * (decoder.batch * width)))
    matters = tf.logical_and(tf.reduce_any(matters, 2), time[:, :, 0] < lengths)
    return trace_back(sources, labels, lengths, ends), scores, tf.reduce_any(matters, 0)
