"""Prefixes that TensorFlow's CTC beam search drops by a quirk of the op, which shows in its answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Tuple

from ckpt2saved.ctc.prefixes import ZERO, Beams, Stays, Step, count, pick, search
from ckpt2saved.graph.tf1 import tf

if TYPE_CHECKING:
    from ckpt2saved.ctc.beams import BeamSearch

# Labels that are examined before all of them are.
FIRST_LABELS = 256


class FirstLabels(NamedTuple):
    """Tables of the first labels, made once for all steps."""

    scores: tf.Tensor  # [time * batch, n], relative to the step's greatest logit
    below: tf.Tensor  # bool [n + 1, n], whether a label is below the number of the row

    @classmethod
    def of(cls, logits: tf.Tensor, greatest: tf.Tensor) -> FirstLabels:
        """Return the tables for `logits` [time, batch, classes] and each step's `greatest` [time, batch]."""
        some = tf.minimum(FIRST_LABELS, tf.shape(logits)[2])
        scores = tf.maximum(logits[:, :, :some] - greatest[:, :, None], ZERO)
        label = tf.range(some)
        return cls(tf.reshape(scores, [-1, some]), label < tf.range(some + 1)[:, None])


class Forgetting:
    """Determines which suspect prefixes the op forgets in a step.

    When the op extends a parent to a prefix that was in the beam but dropped out in this step, it clears that prefix's
    previous probabilities and so does not extend it later. So a prefix is forgotten if, when its parent is extended by
    its label, at least beam_width candidates beat it: stays, extensions of earlier prefixes, extensions of the parent
    by lower labels. `suspects` follow their parents. All counts are int32 [suspects].
    """

    def __init__(self, decoder: BeamSearch, beams: Beams, now: Step, stays: Stays, suspects: tf.Tensor) -> None:
        """Take `suspects`, int64 [suspects, 2]: item and beam position."""
        self.decoder, self.beams, self.now, self.stays, self.places = decoder, beams, now, stays, suspects
        self.item = suspects[:, 0]
        self.row = self.item + tf.cast(now.time * decoder.batch, tf.int64)
        self.parent = tf.gather_nd(stays.parent, suspects)
        self.of_parent = tf.stack([self.item, tf.cast(self.parent, tf.int64)], 1)
        self.parent_total = tf.gather_nd(beams.total, self.of_parent)[:, None]
        self.last = tf.gather_nd(beams.last, suspects)[:, None]
        self.bar = tf.gather_nd(stays.total, suspects)[:, None]

    def forgotten(self, known: tf.Tensor) -> tf.Tensor:
        """Return a bool mask [batch, beam_width] of forgotten prefixes, and of those that are `known` to be."""
        width = self.decoder.width
        # The first labels suffice in most cases; complete rows of logits for each suspect are slow.
        scores = tf.gather(self.decoder.first_labels.scores, self.row)
        staying = count(tf.gather(self.stays.total, self.item) > self.bar)
        lower = staying + self._lower_labels(scores) - self._miscounted()
        unsure = tf.where(lower < width)
        rest = self._only(unsure)
        counted = tf.gather_nd(lower, unsure), tf.gather_nd(staying, unsure)
        some = tf.shape(scores, out_type=tf.int64)[1]
        return self._settle(known, lower >= width, unsure, rest, rest._all_lower_labels(some, *counted))

    def _at_suspects(self, values: tf.Tensor) -> tf.Tensor:
        """Return bool [batch, beam_width] with `values` [suspects] at the suspects, False elsewhere."""
        shape = tf.shape(self.stays.parent, out_type=tf.int64)
        return tf.scatter_nd(self.places, tf.cast(values, tf.int32), shape) > 0

    def _only(self, which: tf.Tensor) -> Forgetting:
        return Forgetting(self.decoder, self.beams, self.now, self.stays, tf.gather(self.places, which[:, 0]))

    def _lower_labels(self, scores: tf.Tensor) -> tf.Tensor:
        """Count the parent's extensions by lower labels that beat the suspect, ignoring special cases.

        `scores` [suspects, n] are those of the first n labels.
        """
        below = tf.range(tf.shape(scores, out_type=tf.int64)[1]) < self.last
        return count(tf.logical_and(self.parent_total + scores > self.bar, below))

    def _miscounted(self) -> tf.Tensor:
        """Count those that do not exist: the parent's own label counts less, and some are in the beam."""
        stays = self.stays
        own = tf.gather_nd(stays.last_score, self.of_parent)[:, None]
        blank = tf.gather_nd(self.beams.blank, self.of_parent)[:, None]
        own = count(self.parent_total + own > self.bar) - count(blank + own > self.bar)
        own = tf.where(tf.gather_nd(self.beams.last, self.of_parent) < self.last[:, 0], own, tf.zeros_like(own))
        sibling = tf.logical_and(
            tf.equal(tf.gather(stays.parent, self.item), self.parent[:, None]),
            tf.gather(self.beams.last, self.item) < self.last,
        )
        return own + count(tf.logical_and(sibling, self._beaten_by_children()))

    def _beaten_by_children(self) -> tf.Tensor:
        """Return whether each beam, as an extension of its parent, beats the suspect [suspects, beam_width]."""
        scores = tf.gather(self.stays.from_parent + self.stays.last_score, self.item)
        return tf.logical_and(tf.gather(self.stays.has_parent, self.item), scores > self.bar)

    def _all_lower_labels(self, some: tf.Tensor, lower: tf.Tensor, staying: tf.Tensor) -> tf.Tensor:
        """Return the count over all labels; `lower` is the count over the first `some` labels."""
        beating = self.parent_total + tf.gather(self.now.scores, self.item) > self.bar
        best = tf.logical_and(beating, tf.gather(self.now.labels, self.item) < self.last)
        # If not all of the best labels beat the suspect, no other label does.
        lower = tf.where(self.last[:, 0] <= some, lower, staying + count(best) - self._miscounted())
        open_ = tf.where(tf.logical_and(self.last[:, 0] > some, tf.reduce_all(beating, 1)))
        rest = self._only(open_)
        greatest = tf.gather_nd(self.now.greatest, rest.places)[:, None]
        scores = tf.maximum(tf.gather(self.decoder.by_row, rest.row) - greatest, ZERO)
        all_ = tf.gather(staying, open_[:, 0]) + rest._lower_labels(scores) - rest._miscounted()
        return tf.tensor_scatter_update(lower, open_, all_)

    def _earlier(self) -> Tuple[tf.Tensor, tf.Tensor]:
        """Return the counts [suspects, beam_width] for prefixes that are extended before the parent.

        The second result is subtracted for a beam whose parent is extended before.
        """
        scores = tf.gather(self.now.scores, self.item)
        totals = tf.gather(self.beams.total, self.item)
        beating = search(-scores, totals - self.bar)
        last_score = tf.gather(self.stays.last_score, self.item)
        own = tf.cast(totals + last_score > self.bar, tf.int32)
        own -= tf.cast(tf.gather(self.beams.blank, self.item) + last_score > self.bar, tf.int32)
        ranked = tf.gather(self.stays.ranked, self.item)
        before = self.decoder.places[:1] < self.parent[:, None]
        beating -= tf.where(ranked, own, tf.zeros_like(own))
        children = tf.logical_and(self._beaten_by_children(), ranked)
        children = tf.logical_and(children, tf.gather(self.stays.parent, self.item) < self.parent[:, None])
        return tf.where(before, beating, tf.zeros_like(beating)), tf.cast(children, tf.int32)

    def _settle(
        self, known: tf.Tensor, sure: tf.Tensor, unsure: tf.Tensor, rest: Forgetting, lower: tf.Tensor
    ) -> tf.Tensor:
        """Resolve the dependencies: a forgotten prefix is not extended, so it displaces none."""
        decoder = self.decoder
        gains, children = rest._earlier()

        def step(_: tf.Tensor, forgotten: tf.Tensor) -> Tuple[Any, ...]:
            extended = tf.cast(tf.logical_not(forgotten), tf.int32)
            parent_extended = pick(extended, self.stays.parent + decoder.beam_row)
            gained = gains * tf.gather(extended, rest.item) - children * tf.gather(parent_extended, rest.item)
            full = tf.cast(lower + tf.reduce_sum(gained, 1) >= decoder.width, tf.int32)
            full = tf.cast(sure, tf.int32) + tf.scatter_nd(unsure, full, tf.shape(sure, out_type=tf.int64))
            wiped = tf.logical_or(known, self._at_suspects(full * tf.gather_nd(extended, self.of_parent)))
            return tf.reduce_any(tf.not_equal(wiped, forgotten)), wiped

        return tf.while_loop(lambda changed, _: changed, step, [tf.constant(True), known])[1]
