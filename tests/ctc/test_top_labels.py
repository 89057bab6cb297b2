"""The best labels of each step, beside a sort of all of them."""

from __future__ import annotations

import numpy as np
import pytest

from ckpt2saved.ctc.top_labels import best_labels
from ckpt2saved.graph.tf1 import open_session, tf

STEPS, BATCH = 5, 3


def found(examples, k, classes):
    """The best labels of each of the `examples`; the graph knows the number of `classes`, or not (None)."""
    with tf.Graph().as_default(), open_session() as session:
        logits = tf.placeholder(tf.float32, [None, None, classes])
        best = best_labels(logits, k)
        return [session.run(best, {logits: example}) for example in examples]


def coarse(rng, classes):
    """Logits of which many are equal."""
    return rng.randint(-40, 40, [STEPS, BATCH, classes]) / 4


@pytest.mark.parametrize("is_known", [True, False], ids=["known", "unknown"])
@pytest.mark.parametrize("k", [2, 3, 11, 40])
@pytest.mark.parametrize("classes", [37, 1033, 2201, 3862, 4209])
def test_the_best_first_and_of_equal_ones_the_lowest_label(k, classes, is_known):
    """In rows as a whole, in blocks, and in blocks of blocks; the classes are no multiple of a block."""
    rng = np.random.RandomState(classes + k)
    examples = [
        coarse(rng, classes),
        rng.randn(STEPS, BATCH, classes).astype("float32"),
        np.sort(coarse(rng, classes)),  # the best labels are side by side, next to the blank
        -np.sort(-coarse(rng, classes)),
        np.where(rng.rand(STEPS, BATCH, classes) < 0.99, -np.inf, coarse(rng, classes)),
    ]
    examples[-1][:, :, -1] = 0
    for logits, best in zip(examples, found(examples, k, classes if is_known else None)):
        missing = [(0, 0), (0, 0), (0, max(k - (classes - 1), 0))]
        labels = np.argsort(-logits[:, :, :-1], axis=2, kind="stable")[:, :, :k]
        values, greatest = np.take_along_axis(logits, labels, 2), logits.max(2)
        values = np.pad(values, missing, "constant", constant_values=-np.inf)
        labels = np.pad(labels, missing, "constant", constant_values=classes - 1)
        assert best.usable.all()
        np.testing.assert_array_equal(best.greatest, greatest)
        np.testing.assert_allclose(best.scores, values - greatest[:, :, None], rtol=1e-6)
        np.testing.assert_allclose(best.blank, logits[:, :, -1] - greatest, rtol=1e-6)
        possible = np.isfinite(values)
        np.testing.assert_array_equal(best.labels[possible], labels[possible])


@pytest.mark.parametrize("k", [2, 5, 19])
def test_a_nan_in_any_place_is_found(k):
    """Also where larger values are in other blocks."""
    rng = np.random.RandomState(k)
    for classes in (37, 1033, 3862):
        places = {0, 15, 16, 127, 128, classes // 2, classes - 17, classes - 2, classes - 1}
        examples = [rng.randn(STEPS, BATCH, classes) for _ in places]
        for place, logits in zip(places, examples):
            logits[3, 1, place % classes] = np.nan
        for best in found(examples, k, classes):
            assert not best.usable[3, 1] and best.usable.sum() == STEPS * BATCH - 1
