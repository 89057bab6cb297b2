"""CTC beam search with beam_width 1, which needs one number per item and no table of prefixes."""

from __future__ import annotations

from typing import Any, Sequence, Tuple

from ckpt2saved.ctc.prefixes import step_array
from ckpt2saved.ctc.top_labels import Best
from ckpt2saved.graph.tf1 import tf

# Steps in one iteration of the loop. Of one item an iteration is mostly the loop's own work (some 20 nodes).
_UNROLLED = 8


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
    steps = tf.shape(logits)[0]
    blocks = (steps + (_UNROLLED - 1)) // _UNROLLED
    numbers = _in_blocks(tf.concat([chances, best.greatest[:, None]], 1), blocks)
    whole = _in_blocks(tf.stack([best.labels[:, :, 0], best.labels[:, :, 1], row], 1), blocks)
    none, one = tf.fill([batch], tf.constant(-1, tf.int64)), tf.ones([batch], logits.dtype)

    def step(
        number: Sequence[tf.Tensor], label: Sequence[tf.Tensor], last: tf.Tensor, share: tf.Tensor
    ) -> Tuple[Any, ...]:
        first_chance, second_chance, blank, greatest = number
        first, second, offset = label
        kept = share * tf.exp(tf.gather(flat, offset + last) - greatest)
        stay = blank + kept
        # Repeating the last label starts a new one only after a blank.
        first_chance = tf.where(tf.equal(first, last), (one - share) * first_chance, first_chance)
        extend = tf.maximum(first_chance, second_chance)
        new = extend > stay
        label = tf.where(second_chance > first_chance, second, first)
        return (
            tf.where(new, label, last),
            tf.where(new, one, kept / stay),
            tf.where(new, label, none),
            tf.maximum(extend, stay),
        )

    def block(
        t: tf.Tensor, last: tf.Tensor, share: tf.Tensor, emitted: tf.TensorArray, factors: tf.TensorArray
    ) -> Tuple[Any, ...]:
        number, label = tf.unstack(numbers.read(t), 4 * _UNROLLED), tf.unstack(whole.read(t), 3 * _UNROLLED)
        found = []
        for at in range(_UNROLLED):
            last, share, *more = step(number[4 * at :][:4], label[3 * at :][:3], last, share)
            found.append(more)
        labels, chance = zip(*found)
        return t + 1, last, share, emitted.write(t, tf.stack(labels)), factors.write(t, tf.stack(chance))

    start = [tf.constant(0), tf.fill([batch], classes - 1), tf.zeros([batch], logits.dtype)]
    arrays = [tf.TensorArray(tf.int64, blocks), tf.TensorArray(logits.dtype, blocks)]
    done = tf.while_loop(lambda t, *_: t < blocks, block, start + arrays)
    padded = tf.cast(blocks, tf.int64) * _UNROLLED
    emitted, factors = (tf.reshape(array.stack(), [padded, batch])[:steps] for array in done[3:])
    during = tf.range(steps)[:, None] < lengths
    factors = tf.where(during, tf.log(factors), tf.zeros_like(best.greatest))
    emitted = tf.where(during, emitted, -tf.ones_like(emitted))
    return emitted[:, :, None], tf.reduce_sum(factors, 0)[:, None]


def _in_blocks(values: tf.Tensor, blocks: tf.Tensor) -> tf.TensorArray:
    """Return blocks of steps of [time, rows, batch]: each is [steps * rows, batch], filled with zeros at the end."""
    shape = tf.shape(values)
    missing = blocks * _UNROLLED - shape[0]
    filled = tf.pad(values, [[0, missing], [0, 0], [0, 0]])
    return step_array(tf.reshape(filled, [blocks, _UNROLLED * shape[1], shape[2]]))
