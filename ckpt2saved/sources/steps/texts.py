"""Steps behind the network: CTC decoding, characters, values for pictures that could not be read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Dict, Mapping, Optional

from ckpt2saved.ctc.language_model import LanguageModel
from ckpt2saved.errors import SignatureError
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.signature.steps import Characters, DecodeCtc, Failed
from ckpt2saved.sources.networks.decoding import decoded


def decoded_logits(
    logits: tf.Tensor, lengths: tf.Tensor, step: DecodeCtc, language_model: Optional[LanguageModel]
) -> Dict[str, tf.Tensor]:
    """Return ids, lengths and score of `logits` [time, batch, classes], or as the step says."""
    if step.batch_first:
        logits = tf.transpose(logits, [1, 0, 2])
    if step.blank == "first":
        logits = tf.concat([logits[:, :, 1:], logits[:, :, :1]], axis=2)
    made = decoded(
        logits,
        lengths,
        beam_width=step.beam_width,
        merge_repeated=step.merge_repeated,
        language_model=language_model,
    )
    return {name: made[name] for name in step.makes}


def joined_characters(ids: tf.Tensor, step: Characters) -> tf.Tensor:
    """Return the text, string [batch], of `ids` integers [batch, time], padded with -1."""
    symbols = tf.constant([symbol.encode("utf-8") for symbol in step.symbols] + [b""], name="characters")
    end = tf.cast(len(step.symbols), ids.dtype)
    text = tf.reduce_join(tf.gather(symbols, tf.where(ids < 0, tf.fill(tf.shape(ids), end), ids)), axis=1)
    return tf.strings.strip(text) if step.strip else text


def check_classes(step: Characters, classes: Any, where: str) -> Characters:
    """Return the step with a character for each class but the blank; raises SignatureError for another count."""
    if classes is None:
        return step
    count, wanted = len(step.symbols), int(classes) - 1
    if count == wanted:
        return step
    if count > wanted:
        surplus = [symbol for symbol in step.symbols[wanted:] if symbol]
        if not surplus:
            return replace(step, symbols=step.symbols[:wanted])
        what = f"without a class are {', '.join(map(repr, surplus[:5]))}" + (" and more" if len(surplus) > 5 else "")
    else:
        what = f"without a character are the ids {count} to {wanted - 1}"
    raise SignatureError(
        f"{where}: {step.file} has {count} lines, and the network has {wanted} classes besides the blank; {what};"
        " expected is one line for each class, empty where a class has no character, and none for the blank"
    )


def replaced(results: Mapping[str, tf.Tensor], status: tf.Tensor, step: Failed) -> Dict[str, tf.Tensor]:
    """Return results [batch] with the values of the step where `status` is not 0."""
    found = {}
    for name, value in step.values.items():
        given = tf.constant(value, results[name].dtype.base_dtype)
        found[name] = tf.where(tf.equal(status, 0), results[name], tf.fill(tf.shape(results[name]), given))
    return found
