"""Data structures of the beam search, tensors [batch, beam_width], and lookups in them."""

from __future__ import annotations

from typing import NamedTuple, Optional

from ckpt2saved.graph.tf1 import tf

# Stands for the logarithm of 0: unlike -infinity it can be subtracted from itself. Below DEAD nothing is alive.
ZERO = -1e30
DEAD = -1e29


class Beams(NamedTuple):
    """The prefixes kept after a step, most probable first; all [batch, beam_width]."""

    total: tf.Tensor  # log probability, relative to the greatest logits of the steps so far
    blank: tf.Tensor  # the part of it that ends in a blank
    label: tf.Tensor  # the part of it that ends in the prefix's last label
    last: tf.Tensor  # int64, that label; the blank for the empty prefix
    name: tf.Tensor  # int64, the prefix's number
    parent: tf.Tensor  # int64, the number of the prefix without its last label


class Step(NamedTuple):
    """The label scores of a step, relative to the step's greatest logit.

    Those of an item are repeated for each of its prefixes: a sum of two shapes takes five times as long as of one.
    """

    time: tf.Tensor  # int32
    row: tf.Tensor  # int64 [batch, beam_width], the place of the item's first logit
    greatest: tf.Tensor  # [batch, beam_width]
    blank: tf.Tensor  # [batch, beam_width]
    highest: tf.Tensor  # [batch, beam_width], the score of the best label
    lowest: tf.Tensor  # [batch, beam_width], of the last one of `labels`
    labels: tf.Tensor  # int64 [batch, k], the best labels
    scores: tf.Tensor  # [batch, k], theirs
    ordered: tf.Tensor  # int64 [batch, k], the same labels, ascending
    ranks: tf.Tensor  # int32 [batch, k], where those stand in `labels`


class Stays(NamedTuple):
    """The scores of each prefix without extension, all [batch, beam_width]."""

    total: tf.Tensor
    blank: tf.Tensor
    label: tf.Tensor
    last_score: tf.Tensor  # the step's score of the last label
    parent: tf.Tensor  # int32, the place of the parent among the prefixes
    has_parent: tf.Tensor  # bool, the parent is among them
    from_parent: tf.Tensor  # the parent's part that a last label can follow
    repeats: tf.Tensor  # bool, the parent's last label is the same
    # Of a search that ranks the labels of a step:
    rank: Optional[tf.Tensor] = None  # int32, the rank of the last label in this step
    ranked: Optional[tf.Tensor] = None  # bool, it has one


class Extended(NamedTuple):
    """The prefixes in the order in which they are extended; all [batch, beam_width].

    Those that are not extended come last.
    """

    total: tf.Tensor  # of the prefix at each position; ZERO if it is not extended
    repeated: tf.Tensor  # of each prefix, the score of its last label once more; ZERO if it is not extended
    position: tf.Tensor  # int32, of each prefix
    parent: tf.Tensor  # int32, the position of each prefix's parent
    source: tf.Tensor  # int32, the prefix at each position, by its index in the flattened tensors


class Kept(NamedTuple):
    """The result of a step, all [batch, beam_width], best first."""

    total: tf.Tensor
    source: tf.Tensor  # int32, the prefix that stayed or was extended, by its index in the flattened tensors
    last: tf.Tensor  # int64
    stayed: tf.Tensor  # bool


def search(ordered: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Return the position of each of `values` [rows, n] in the ascending `ordered` [rows, m]; m if greater than all."""
    return tf.raw_ops.LowerBound(sorted_inputs=ordered, values=values)


def step_array(values: tf.Tensor) -> tf.TensorArray:
    """Return a TensorArray with one element for each step of `values` [time, ...]."""
    return tf.TensorArray(values.dtype, tf.shape(values)[0]).unstack(values)


def pick(table: tf.Tensor, row: tf.Tensor) -> tf.Tensor:
    """Return elements of `table` by their index in the flattened tensor."""
    return tf.gather(tf.reshape(table, [-1]), row)


def count(conditions: tf.Tensor) -> tf.Tensor:
    """Return how many of each row of bool [rows, n] are true, int32 [rows]."""
    return tf.reduce_sum(tf.cast(conditions, tf.int32), 1)
