"""Quick rules for prefixes that TensorFlow's CTC beam search drops by a quirk of the op."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ckpt2saved.ctc.forgetting import FIRST_LABELS, Forgetting
from ckpt2saved.ctc.prefixes import ZERO, Beams, Stays, Step, count, pick
from ckpt2saved.graph.tf1 import tf

if TYPE_CHECKING:
    from ckpt2saved.ctc.beams import BeamSearch


class _Children(NamedTuple):
    """Children of their item's best prefix that are in the beam, each a row.

    Forgetting counts the same for children of any prefix; its more nodes at each step would cost 5 % of the decoder.
    """

    place: tf.Tensor  # int64 [children, 1], the index in the flattened tensors
    row: tf.Tensor  # int64 [children], the step's and item's row among all logits
    first: tf.Tensor  # [children, 1], the total of the best prefix
    bar: tf.Tensor  # [children, 1], the total without extension
    last: tf.Tensor  # int64 [children, 1]

    def only(self, which: tf.Tensor) -> _Children:
        """Return the children at `which`, int64 [n, 1]."""
        return _Children(*[tf.gather_nd(part, which) for part in self])


class QuickForgetting:
    """Determines which prefixes the op forgets in a step, by rules that decide most of them at once.

    A prefix is forgotten as described at Forgetting. The best prefix is extended before all others, and always. So the
    number of candidates that beat one of its children does not depend on what else is forgotten. Where all of the
    step's best labels, as extensions of the best prefix, beat a child of another prefix, those are beam_width (its own
    last label counts less, and an extension that is in the beam has a stay that is as good): the child is forgotten if
    its parent is extended. The rest is left to Forgetting.
    """

    def __init__(self, decoder: BeamSearch, beams: Beams, now: Step, stays: Stays) -> None:
        self.decoder, self.beams, self.now, self.stays = decoder, beams, now, stays
        self.first = pick(beams.total, decoder.beam_row)

    def suspects(self) -> tf.Tensor:
        """Return the prefixes that may be forgotten where it matters, bool [batch, beam_width]."""
        stays, now = self.stays, self.now
        # It does not matter if all extensions of the best prefix beat those of the suspect, which are not kept then.
        reaching = self.beams.total + now.highest >= self.first + now.lowest
        # If no extension beats the suspect, only other stays can, and those are fewer than beam_width.
        beaten = self.first + now.highest > stays.total
        later = tf.logical_and(stays.has_parent, stays.parent < self.decoder.places)
        return tf.logical_and(tf.logical_and(reaching, beaten), later)

    def forgotten(self, suspects: tf.Tensor) -> tf.Tensor:
        """Return which of the suspects are forgotten, bool [batch, beam_width]."""
        stays = self.stays
        of_first = self._of_first(tf.logical_and(suspects, tf.equal(stays.parent, 0)))
        others = tf.logical_and(suspects, stays.parent > 0)
        parent = stays.parent + self.decoder.beam_row
        sure = tf.logical_and(others, self.first + self.now.lowest > stays.total)
        sure = tf.logical_and(sure, tf.logical_not(pick(others, parent)))
        forgotten = tf.logical_or(of_first, tf.logical_and(sure, tf.logical_not(pick(of_first, parent))))
        unsure = tf.logical_and(others, tf.logical_not(sure))

        def examined() -> tf.Tensor:
            return Forgetting(self.decoder, self.beams, self.now, stays, tf.where(unsure)).forgotten(forgotten)

        return tf.cond(tf.reduce_any(unsure), examined, lambda: tf.identity(forgotten))

    def _of_first(self, suspects: tf.Tensor) -> tf.Tensor:
        """Return which of the suspect children of the best prefix are forgotten, bool [batch, beam_width]."""
        decoder, labels = self.decoder, self.decoder.first_labels
        children = self._children(tf.where(tf.reshape(suspects, [-1])))
        beating = children.first + tf.gather(labels.scores, children.row) > children.bar
        below = tf.gather(labels.below, tf.minimum(children.last[:, 0], FIRST_LABELS))
        # More lower labels than beam_width suffice: one may be the parent's own, and those in the beam are stays.
        sure = count(tf.logical_and(beating, below)) > decoder.width
        unsure = tf.where(tf.logical_not(sure))
        rest = children.only(unsure)
        beaten = self._lower_labels(rest) + self._others(rest) >= decoder.width
        found = tf.cast(tf.concat([sure, beaten], 0), tf.int32)
        place = tf.concat([children.place, rest.place], 0)[:, 0]
        found = tf.unsorted_segment_sum(found, place, decoder.batch * decoder.width)
        return tf.reshape(found > 0, tf.shape(decoder.places))

    def _children(self, place: tf.Tensor) -> _Children:
        first, bar, last = [
            tf.gather_nd(tf.reshape(part, [-1, 1]), place) for part in (self.first, self.stays.total, self.beams.last)
        ]
        row = place[:, 0] // self.decoder.width + tf.cast(self.now.time * self.decoder.batch, tf.int64)
        return _Children(place, row, first, bar, last)

    def _lower_labels(self, children: _Children) -> tf.Tensor:
        """Count the best prefix's extensions by lower labels that beat each child, ignoring special cases."""
        logits = tf.gather(self.decoder.by_row, children.row)
        greatest = tf.gather_nd(tf.reshape(self.now.greatest, [-1, 1]), children.place)
        beating = children.first + tf.maximum(logits - greatest, ZERO) > children.bar
        return count(tf.logical_and(beating, self.decoder.all_labels < children.last))

    def _others(self, children: _Children) -> tf.Tensor:
        """Count the stays that beat each child, less the labels that do not count or stand for a prefix in the beam."""
        beams, stays, width = self.beams, self.stays, self.decoder.width
        in_beam = tf.logical_and(stays.has_parent, tf.equal(stays.parent, 0))
        in_beam = tf.where(in_beam, stays.from_parent + stays.last_score, self.decoder.zeros)
        own = [(part + stays.last_score)[:, :1] for part in (beams.total, beams.blank)]
        scores = tf.concat([stays.total, in_beam] + own, 1)
        labels = tf.concat([-tf.ones_like(beams.last), beams.last, beams.last[:, :1], beams.last[:, :1]], 1)
        counts = np.array([1] * width + [-1] * width + [-1, 1], np.int32)
        item = children.place[:, 0] // width
        beating = tf.logical_and(tf.gather(scores, item) > children.bar, tf.gather(labels, item) < children.last)
        return tf.reduce_sum(tf.cast(beating, tf.int32) * counts, 1)
