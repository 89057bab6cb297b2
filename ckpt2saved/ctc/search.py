"""TensorFlow's CTC beam search decoder rebuilt from stock ops, hundreds of times faster."""

from __future__ import annotations

from typing import List, Optional, Tuple

from ckpt2saved.ctc.beams import decode_beams
from ckpt2saved.ctc.bigram_search import BigramSearch, decode_bigrams
from ckpt2saved.ctc.language_model import LanguageModel
from ckpt2saved.ctc.normalizers import log_normalizers
from ckpt2saved.ctc.single import decode_single
from ckpt2saved.ctc.top_labels import best_labels
from ckpt2saved.graph.tf1 import tf, v1_control_flow


def beam_search(
    logits: tf.Tensor,
    sequence_length: tf.Tensor,
    *,
    beam_width: int,
    top_paths: int,
    merge_repeated: bool,
    language_model: Optional[LanguageModel] = None,
) -> Tuple[List[tf.SparseTensor], tf.Tensor]:
    """Decode like `tf.nn.ctc_beam_search_decoder`, with identical sequences.

    `logits` is float32 or float64 [time, batch, classes], unscaled, the blank last; `sequence_length` is int32 [batch].
    Returns `top_paths` SparseTensors [batch, longest sequence] of int64 labels, most probable first, and their natural
    log-probabilities [batch, top_paths], which cost another pass over the logits only if fetched. All shapes may be
    unknown until the graph runs.

    With a `language_model`, prefixes and sequences are chosen by their rank: log-probability plus the score of the
    language model. The log-probabilities that are returned do not include that score.

    Raises ValueError or TypeError for invalid arguments. The graph fails with InvalidArgumentError for a length above
    the number of steps, for no steps, for more paths than prefixes (after few steps) and for NaN or +infinity in a
    sequence; with beam_width 1 and no language model, though, the sequence ends before that step, as in the op, and
    its probability is NaN.
    """
    if beam_width < 1 or top_paths < 1:
        raise ValueError(f"beam_width={beam_width} and top_paths={top_paths} must be at least 1")
    if top_paths > beam_width:
        raise ValueError(f"top_paths={top_paths} is more than beam_width={beam_width}")
    with tf.name_scope("ctc_beam_search"), v1_control_flow():
        logits, lengths = _checked(logits, sequence_length)
        checks = [] if language_model is None else [_same_classes(logits, language_model)]
        with tf.control_dependencies(checks):
            logits = logits[: tf.reduce_max(tf.concat([lengths, [1]], 0))]
        best = best_labels(logits, 2 if language_model else beam_width + 1)
        sound = _sound_steps(best.usable, lengths)
        if beam_width == 1 and language_model is None:
            emitted, scores = decode_single(logits, best, sound)
            # The op goes on with a NaN: it neither extends the prefix any more nor knows its probability.
            scores = tf.where(sound < lengths, tf.fill(tf.shape(scores), _nan(scores)), scores)
        else:
            finite = tf.Assert(tf.reduce_all(tf.equal(sound, lengths)), ["a logit is NaN or infinite at steps", sound])
            with tf.control_dependencies([finite]):  # around no loop: TensorFlow 1 would mix their frames
                sound = tf.identity(sound)
            if language_model is None:
                emitted, scores = decode_beams(logits, best, sound, beam_width, top_paths)
            else:
                decoder = BigramSearch(logits, best, language_model, beam_width)
                emitted, scores = decode_bigrams(decoder, sound, top_paths)
        decoded = _sparse_paths(tf.transpose(emitted, [2, 1, 0]), merge_repeated, top_paths)
        return decoded, scores - log_normalizers(logits, best.greatest, sound)[:, None]


def _same_classes(logits: tf.Tensor, language_model: LanguageModel) -> tf.Operation:
    """Return an assertion on the number of classes; raises ValueError if the shapes show that it differs."""
    known = tf.compat.dimension_value(logits.shape[2])
    if known not in (None, language_model.classes):
        raise ValueError(f"the logits have {known} classes, the language model {language_model.classes}")
    found = tf.shape(logits)[2]
    return tf.Assert(
        tf.equal(found, language_model.classes),
        ["the logits have", found, "classes, the language model", language_model.classes],
    )


def _nan(like: tf.Tensor) -> tf.Tensor:
    return tf.constant(float("nan"), like.dtype)


def _checked(logits: tf.Tensor, sequence_length: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
    """Return both inputs with assertions that fail where the op fails."""
    logits = tf.convert_to_tensor(logits)
    if logits.dtype not in (tf.float32, tf.float64):
        raise TypeError(f"logits are {logits.dtype.name}; float32 and float64 can be decoded")
    lengths = tf.convert_to_tensor(sequence_length, tf.int32)
    logits.shape.assert_has_rank(3)
    lengths.shape.assert_has_rank(1)
    time, batch = tf.shape(logits)[0], tf.shape(logits)[1]
    checks = [
        tf.Assert(time > 0, ["logits have no time steps"]),
        tf.Assert(tf.shape(logits)[2] > 0, ["logits have no classes"]),
        tf.Assert(tf.equal(tf.size(lengths), batch), ["sequence_length has", tf.size(lengths), "items, logits", batch]),
        tf.Assert(tf.reduce_all(lengths <= time), ["sequence_length", lengths, "is longer than the logits", time]),
    ]
    with tf.control_dependencies(checks):
        return tf.identity(logits), tf.maximum(lengths, 0)


def _sound_steps(usable: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """Return how many steps [batch] precede the first that is not `usable` [time, batch]."""
    time = tf.range(tf.shape(usable)[0])[:, None]
    end = tf.reduce_min(
        tf.where(usable, tf.fill(tf.shape(usable), tf.shape(usable)[0]), time + tf.zeros_like(usable, tf.int32)), 0
    )
    return tf.minimum(lengths, end)


def _sparse_paths(emitted: tf.Tensor, merge_repeated: bool, top_paths: int) -> List[tf.SparseTensor]:
    """Return one SparseTensor [batch, longest] for each path of `emitted` [paths, batch, time]; -1 is no label."""
    shape = tf.shape(emitted, out_type=tf.int64)
    paths, batch = shape[0], shape[1]
    rows = tf.reshape(emitted, [paths * batch, shape[2]])
    places = tf.where(rows >= 0)
    labels, row = tf.gather_nd(rows, places), places[:, 0]
    if merge_repeated:
        changed = tf.logical_or(tf.not_equal(labels[1:], labels[:-1]), tf.not_equal(row[1:], row[:-1]))
        new = tf.concat([tf.fill([tf.minimum(tf.size(labels), 1)], True), changed], 0)
        labels, row = tf.boolean_mask(labels, new), tf.boolean_mask(row, new)
    sizes = tf.unsorted_segment_sum(tf.ones_like(row), row, paths * batch)
    column = tf.range(tf.size(row, out_type=tf.int64)) - tf.gather(tf.cumsum(sizes, exclusive=True), row)
    indices = tf.stack([row % tf.maximum(batch, 1), column], 1)
    sizes = tf.reshape(sizes, [paths, batch])
    ends = tf.reduce_sum(sizes, 1)
    longest = tf.reduce_max(tf.pad(sizes, [[0, 0], [0, 1]]), 1)
    return [
        tf.SparseTensor(*parts)
        for parts in zip(
            tf.split(indices, ends, num=top_paths),
            tf.split(labels, ends, num=top_paths),
            tf.unstack(tf.stack([tf.fill([paths], batch), longest], 1), top_paths),
        )
    ]
