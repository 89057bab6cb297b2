"""CTC beam search with beam_width > 1, as a loop over tensors [batch, beam_width]."""

from __future__ import annotations

from typing import Any, Tuple

import numpy as np

from ckpt2saved.ctc.forgetting import FirstLabels
from ckpt2saved.ctc.prefix_search import PrefixSearch, after_last_step, checked_paths, int64, trace_back
from ckpt2saved.ctc.prefixes import ZERO, Beams, Extended, Kept, Stays, Step, pick, search, step_array
from ckpt2saved.ctc.quick_forgetting import QuickForgetting
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
        self.indices = self.places + self.beam_row
        self.label_row = tf.tile(self.item * self.k, [1, width])
        self.candidate_row = tf.tile(self.item * self.pairs.count, [1, 2 * width])
        self.by_row = tf.reshape(logits, [-1, tf.shape(logits)[2]])
        self.all_labels = tf.range(self.classes)
        self.first_labels = FirstLabels.of(logits, best.greatest)
        ordered, ranks = tf.nn.top_k(-best.labels, self.k)
        scores = tf.maximum(best.scores, ZERO)
        of_item = [self.rows(), best.greatest, best.blank, scores[:, :, 0], scores[:, :, -1]]
        repeated = [tf.tile(part[:, :, None], [1, 1, width]) for part in of_item]
        self.inputs = [step_array(part) for part in [*repeated, best.labels, scores, -ordered, ranks]]

    def step(self, t: tf.Tensor, beams: Beams) -> Tuple[Beams, Kept]:
        """Return the beams after step t, and their parents and labels."""
        now = Step(t, *[part.read(t) for part in self.inputs])
        stays = self._stay(beams, now)
        kept = self._keep(beams, now, stays, self._extended(beams, now, stays))
        return self.move(beams, stays, kept), kept

    def _stay(self, beams: Beams, now: Step) -> Stays:
        rank_row = tf.minimum(search(now.ordered, beams.last), self.k - 1) + self.label_row
        return self.stay(beams, now.row, now.greatest, now.blank)._replace(
            rank=pick(now.ranks, rank_row), ranked=tf.equal(pick(now.ordered, rank_row), beams.last)
        )

    def _extended(self, beams: Beams, now: Step, stays: Stays) -> Extended:
        """Return which prefixes are extended: all but those that the op forgets."""
        quick = QuickForgetting(self, beams, now, stays)
        suspects = quick.suspects()

        def without() -> Tuple[tf.Tensor, ...]:
            return tuple(self._without(beams, stays, quick.forgotten(suspects)))

        def all_() -> Tuple[tf.Tensor, ...]:
            return tuple(tf.identity(part) for part in self._all(beams, stays))

        return Extended(*tf.cond(tf.reduce_any(suspects), without, all_))

    def _all(self, beams: Beams, stays: Stays) -> Extended:
        return Extended(beams.total, beams.blank + stays.last_score, self.places, stays.parent, self.indices)

    def _without(self, beams: Beams, stays: Stays, forgotten: tf.Tensor) -> Extended:
        # What _Pairs says of positions counts only prefixes that are extended: the others go to the end.
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
        """Return the numbers, in _Pairs, of duplicate candidates [batch, 2 * beam_width].

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

    start = decoder.start()
    arrays = [tf.TensorArray(dtype, steps) for dtype in (logits.dtype, tf.int32, tf.int64)]
    done = tf.while_loop(lambda t, *_: t < steps, step, [tf.constant(0), start] + arrays)
    totals, sources, labels = [array.stack() for array in done[2:]]
    ends = decoder.item_row + tf.range(paths)
    scores = after_last_step(totals, lengths, start.total)[:, :paths]
    return checked_paths(trace_back(sources, labels, lengths, ends), scores)
