"""CTC beam search with beam_width 1, which needs one number per item and no table of prefixes."""

from __future__ import annotations

from typing import Any, Tuple

from ckpt2saved.ctc.prefixes import step_array
from ckpt2saved.ctc.top_labels import Best
from ckpt2saved.graph.tf1 import tf


def decode_single(logits: tf.Tensor, best: Best, lengths: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
    """Decode with a beam of one prefix.

    The state is the prefix's last label and the share of its probability that ends in that label rather than in a
    blank. The share is 1 after an extension; otherwise it is multiplied by the label's probability, and the total by
    the blank's. The prefix's parent is never in the beam.

    Returns the emitted labels int64 [time, batch] (-1: none), and the log of each step's factor of the prefix's
    probability [time, batch].
    """
    shape = tf.shape(logits, out_type=tf.int64)
    time, batch, classes = shape[0], shape[1], shape[2]
    flat = tf.reshape(logits, [-1])
    row = tf.reshape(tf.range(time * batch) * classes, [time, batch])
    chances = tf.exp(tf.stack([best.scores[:, :, 0], best.scores[:, :, 1], best.blank], 1))
    numbers = step_array(tf.concat([chances, best.greatest[:, None]], 1))
    whole = step_array(tf.stack([best.labels[:, :, 0], best.labels[:, :, 1], row], 1))
    steps = tf.shape(logits)[0]
    none, one = tf.fill([batch], tf.constant(-1, tf.int64)), tf.ones([batch], logits.dtype)

    def step(
        t: tf.Tensor, last: tf.Tensor, share: tf.Tensor, emitted: tf.TensorArray, factors: tf.TensorArray
    ) -> Tuple[Any, ...]:
        first_chance, second_chance, blank, greatest = tf.unstack(numbers.read(t), 4)
        first, second, offset = tf.unstack(whole.read(t), 3)
        kept = share * tf.exp(tf.gather(flat, offset + last) - greatest)
        stay = blank + kept
        # Repeating the last label starts a new one only after a blank.
        repeats = tf.equal(first, last)
        repeat = (one - share) * first_chance
        other = tf.logical_and(repeats, second_chance > repeat)
        extend = tf.where(repeats, tf.maximum(repeat, second_chance), first_chance)
        new = extend > stay
        label = tf.where(other, second, first)
        return (
            t + 1,
            tf.where(new, label, last),
            tf.where(new, one, kept / stay),
            emitted.write(t, tf.where(new, label, none)),
            factors.write(t, tf.maximum(extend, stay)),
        )

    start = [tf.constant(0), tf.fill([batch], classes - 1), tf.zeros([batch], logits.dtype)]
    arrays = [tf.TensorArray(tf.int64, steps), tf.TensorArray(logits.dtype, steps)]
    done = tf.while_loop(lambda t, *_: t < steps, step, start + arrays)
    during = tf.range(steps)[:, None] < lengths
    factors = tf.where(during, tf.log(done[4].stack()), tf.zeros_like(best.greatest))
    emitted = done[3].stack()
    emitted = tf.where(during, emitted, -tf.ones_like(emitted))
    return emitted[:, :, None], tf.reduce_sum(factors, 0)[:, None]
