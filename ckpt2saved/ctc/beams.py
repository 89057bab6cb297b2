"""CTC beam search with beam_width > 1, as a loop over tensors [batch, beam_width]."""

from __future__ import annotations

from typing import Any, Optional, Tuple

import numpy as np

from ckpt2saved.ctc.forgetting import Forgetting
from ckpt2saved.ctc.prefix_search import PrefixSearch, after_last_step, checked_paths, int64, trace_back
from ckpt2saved.ctc.prefixes import DEAD, ZERO, Beams, Kept, Stays, Step, pick, search, step_array
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
    """The loop body and its constants for one logits tensor."""

    def __init__(self, logits: tf.Tensor, best: Best, width: int) -> None:
        super().__init__(logits, width)
        self.k, self.pairs = width + 1, _Pairs(width)
        self.label_row, self.candidate_row = self.item * self.k, self.item * self.pairs.count
        ordered, ranks = tf.nn.top_k(-best.labels, self.k)
        self.inputs = [
            step_array(part)
            for part in (
                self.rows(),
                best.greatest,
                best.blank[:, :, None],
                best.labels,
                tf.maximum(best.scores, ZERO),
                -ordered,
                ranks,
            )
        ]

    def step(self, t: tf.Tensor, beams: Beams) -> Tuple[Beams, Kept]:
        """Return the beams after step t, and their parents and labels."""
        now = Step(t, *[part.read(t) for part in self.inputs])
        stays = self._stay(beams, now)
        kept = self._keep(beams, now, stays)
        kept = self._forget(beams, now, stays, kept)
        return self.move(beams, stays, kept), kept

    def _stay(self, beams: Beams, now: Step) -> Stays:
        rank_row = tf.minimum(search(now.ordered, beams.last), self.k - 1) + self.label_row
        return self.stay(beams, now.row, now.greatest, now.blank)._replace(
            rank=pick(now.ranks, rank_row), ranked=tf.equal(pick(now.ordered, rank_row), beams.last)
        )

    def _keep(self, beams: Beams, now: Step, stays: Stays, forgotten: Optional[tf.Tensor] = None) -> Kept:
        """Return the best stays and extensions, without duplicate prefixes.

        Prefixes that are `forgotten` are not extended.
        """
        pairs, order, row, parent = self.pairs, None, self.places, stays.parent
        total, repeated = beams.total, beams.blank + stays.last_score
        if forgotten is not None:
            # What _Pairs says of places counts only prefixes that are extended: the others go to the end.
            key = tf.where(forgotten, self.places + self.width, self.places)
            order = -tf.nn.top_k(-key, self.width)[0] % self.width
            row = tf.nn.top_k(-order, self.width)[1]
            parent = pick(row, parent + self.beam_row)
            total = pick(tf.where(forgotten, self.zeros, total), order + self.beam_row)
            repeated = tf.where(forgotten, self.zeros, repeated)
        extended = tf.gather(total, pairs.places, axis=1) + tf.gather(now.scores, pairs.ranks, axis=1)
        scores = tf.concat([stays.total, extended, repeated, self.zeros[:, :1]], 1)
        gone = tf.reshape(self._superfluous(beams, stays, row, parent) + self.candidate_row, [-1, 1])
        scores = tf.tensor_scatter_update(
            tf.reshape(scores, [-1]), gone, tf.fill(tf.shape(gone)[:1], self.number(ZERO))
        )
        total, index = tf.nn.top_k(tf.reshape(scores, [self.batch, pairs.count]), self.width)
        source, rank = tf.gather(pairs.sources, index), tf.gather(pairs.rank_of, index)
        if forgotten is not None:
            source = tf.where(rank < 0, source, pick(order, source + self.beam_row))
        label = pick(now.labels, tf.maximum(rank, 0) + self.label_row)
        label = tf.where(rank < 0, pick(beams.last, source + self.beam_row), label)
        return Kept(total, source, label, index < self.width)

    def _superfluous(self, beams: Beams, stays: Stays, row: tf.Tensor, parent: tf.Tensor) -> tf.Tensor:
        """Return a mask of duplicate candidates [batch, 2 * beam_width].

        `row` and `parent` are the positions of each beam and of its parent in _Pairs. A beam that repeats its last
        label is counted in the stays, and a parent extended by a beam's last label is that beam. The empty prefix has
        no last label.
        """
        pairs = self.pairs
        nothing = tf.fill(tf.shape(stays.rank), pairs.nothing)
        own = tf.where(stays.ranked, tf.gather(pairs.candidate, row * self.k + stays.rank), nothing)
        own = tf.where(tf.equal(beams.last, self.classes - 1), self.places + pairs.repeats, own)
        child = tf.where(stays.ranked, tf.gather(pairs.candidate, parent * self.k + stays.rank), nothing)
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
        matters = tf.reduce_any(tf.logical_and(newcomer, pick(suspect, kept.source + self.beam_row)), 1, keepdims=True)

        def correct() -> Tuple[tf.Tensor, ...]:
            # Only in items where it matters: with peaked logits those are few of many that have suspects.
            places = tf.where(tf.logical_and(suspect, matters))
            forgotten = Forgetting(self, beams, now, stays, places).forgotten()
            return tuple(self._keep(beams, now, stays, forgotten))

        return Kept(*tf.cond(tf.reduce_any(matters), correct, lambda: tuple(tf.identity(part) for part in kept)))


def decode_beams(
    logits: tf.Tensor, best: Best, lengths: tf.Tensor, width: int, paths: int
) -> Tuple[tf.Tensor, tf.Tensor]:
    """Run a beam search with `width` beams for each item.

    Returns the labels of the best `paths` beams, int64 [time, batch, paths] (-1: none), and their log-probabilities
    [batch, paths], relative to the greatest logits of the steps.
    """
    decoder = BeamSearch(logits, best, width)
    steps = decoder.steps
    none = tf.fill([decoder.batch, width], int64(-1))

    def step(
        t: tf.Tensor, beams: Beams, totals: tf.TensorArray, sources: tf.TensorArray, labels: tf.TensorArray
    ) -> Tuple[Any, ...]:
        beams, kept = decoder.step(t, beams)
        label = tf.where(kept.stayed, none, kept.last)
        return t + 1, beams, totals.write(t, kept.total), sources.write(t, kept.source), labels.write(t, label)

    arrays = [tf.TensorArray(dtype, steps) for dtype in (logits.dtype, tf.int32, tf.int64)]
    done = tf.while_loop(lambda t, *_: t < steps, step, [tf.constant(0), decoder.start()] + arrays)
    totals, sources, labels = [array.stack() for array in done[2:]]
    ends = tf.tile(tf.range(paths)[None], [decoder.batch, 1])
    scores = after_last_step(totals, lengths, decoder.start().total)[:, :paths]
    return checked_paths(trace_back(sources, labels, lengths, ends), scores)
