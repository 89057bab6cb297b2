"""Steps behind the network: decoding of logits in other layouts, and characters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ckpt2saved.graph.tf1 import tf
from ckpt2saved.signature.steps import Characters, DecodeCtc, Failed
from ckpt2saved.sources.steps.texts import decoded_logits, joined_characters, replaced

LOGITS = np.random.RandomState(1).uniform(-4, 4, (9, 3, 5)).astype("float32")  # [time, batch, classes]


def run(tensors):
    with tf.Session() as session:
        return session.run(tensors)


@pytest.mark.parametrize("beam_width", [1, 4])
def test_other_layouts_are_decoded_alike(beam_width):
    """Logits with the batch first, and with the blank as class 0."""
    layouts = {
        ("last", False): LOGITS,
        ("last", True): LOGITS.transpose(1, 0, 2),
        ("first", False): np.roll(LOGITS, 1, axis=2),
        ("first", True): np.roll(LOGITS, 1, axis=2).transpose(1, 0, 2),
    }
    found = []
    for (blank, batch_first), logits in layouts.items():
        step = DecodeCtc("logits", "lengths", beam_width=beam_width, blank=blank, batch_first=batch_first)
        with tf.Graph().as_default():
            found.append(run(decoded_logits(tf.constant(logits), tf.constant([9, 4, 7]), step, None)))
    for other in found[1:]:
        np.testing.assert_array_equal(found[0]["ids"], other["ids"])
        np.testing.assert_allclose(found[0]["score"], other["score"], rtol=1e-5)


def test_characters_are_joined():
    """Several bytes, several code points, and an id without a character."""
    step = Characters(Path("c.txt"), ("é", "", "字字", " "))
    with tf.Graph().as_default():
        (text,) = run([joined_characters(tf.constant([[0, 3, 2, -1], [1, -1, -1, -1], [2, 1, 0, 0]], tf.int64), step)])
    assert [one.decode("utf-8") for one in text] == ["é 字字", "", "字字éé"]


def test_white_space_at_the_ends_is_left_out_on_request():
    ids = np.int64([[1, 1, 0, 1, 0, 1], [1, -1, -1, -1, -1, -1]])
    for strip, expected in ((True, [b"a a", b""]), (False, [b"  a a ", b" "])):
        with tf.Graph().as_default():
            step = Characters(Path("c.txt"), ("a", " "), strip=strip)
            (text,) = run([joined_characters(tf.constant(ids), step)])
        assert text.tolist() == expected


def test_results_of_failed_pictures_are_replaced():
    with tf.Graph().as_default():
        results = {"text": tf.constant(["a", "b"]), "score": tf.constant([1.0, 2.0]), "lengths": tf.constant([1, 1])}
        step = Failed({"text": "", "score": float("-inf"), "lengths": 0})
        found = run(replaced(results, tf.constant([0, 4]), step))
    assert found["text"].tolist() == [b"a", b""]
    assert found["score"].tolist() == [1.0, float("-inf")]
    assert found["lengths"].tolist() == [1, 0]
