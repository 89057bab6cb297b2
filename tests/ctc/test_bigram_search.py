"""The beam search with a language model finds what a plain NumPy search of the same definition finds."""

from __future__ import annotations

import os

import numpy as np
import pytest

pytest.importorskip("tensorflow")

from ckpt2saved.ctc import bigram_search
from ckpt2saved.ctc.beams import BeamSearch
from ckpt2saved.ctc.language_model import LanguageModel
from ckpt2saved.ctc.search import beam_search
from ckpt2saved.graph.tf1 import tf
from tests.support.bigram_reference import Search

LONG = bool(os.environ.get("CKPT2SAVED_TEST_LONG"))


class Decoder:
    """One decoder in a session, with and without a language model."""

    def __init__(self, model, width, paths=1, dtype=np.float64, merge=False):
        with tf.Graph().as_default() as graph:
            self.logits = tf.placeholder(dtype, [None, None, None])
            self.lengths = tf.placeholder(tf.int32, [None])
            decoded, self.scores = beam_search(
                self.logits,
                self.lengths,
                beam_width=width,
                top_paths=paths,
                merge_repeated=merge,
                language_model=model,
            )
            self.paths = [tf.sparse.to_dense(path, default_value=-1) for path in decoded]
        config = tf.ConfigProto(intra_op_parallelism_threads=2, inter_op_parallelism_threads=1)
        self.session = tf.Session(graph=graph, config=config)

    def __call__(self, logits, lengths):
        """For each item the paths and their scores."""
        fed = {self.logits: logits, self.lengths: lengths}
        paths, scores = self.session.run([self.paths, self.scores], fed)
        texts = [[tuple(row[row >= 0].tolist()) for row in path] for path in paths]
        return [list(zip(item, row)) for item, row in zip(zip(*texts), scores)]


def make_table(rng, classes, excluded=0.0):
    table = rng.randn(classes, classes) * rng.uniform(0.5, 3) - 1
    table[rng.rand(classes, classes) < excluded] = -np.inf
    return table


def make_logits(rng, time, batch, classes, dtype):
    logits = rng.randn(time, batch, classes) * rng.choice([1, 3])
    logits[:, :, -1] += rng.uniform(0, 3)
    if rng.rand() < 0.3:
        logits[:, :, :-1][rng.rand(time, batch, classes - 1) < 0.4] = -np.inf
    return logits.astype(dtype)


def compare(model, width, dtype, rng, rounds, batch):
    """Compare random batches; returns how many items, and how many were left out since float32 may tell otherwise."""
    decoder = Decoder(model, width, dtype=dtype)
    close = 0
    for _ in range(rounds):
        time = rng.randint(1, 10)
        logits = make_logits(rng, time, batch, model.classes, dtype)
        lengths = rng.randint(0, time + 1, batch)
        for item, [(path, score)] in enumerate(decoder(logits, lengths)):
            search = Search(model.table, model.weight, model.bonus, width).run(logits[: lengths[item], item])
            if dtype is np.float32 and search.margin < 1e-4:
                close += 1
                continue
            assert path == search.answers[0][0]
            assert score == pytest.approx(search.answers[0][1], abs=1e-4 if dtype is np.float32 else 1e-9)
    return rounds * batch, close


CASES = [
    # classes, beam_width, weight, bonus, share of excluded pairs
    (2, 1, 1.0, 0.0, 0.0),
    (2, 16, 0.7, 0.5, 0.0),
    (3, 4, 1.0, 0.0, 0.3),
    (4, 2, 0.3, -0.7, 0.0),
    (5, 8, 2.0, 0.5, 0.3),
    (8, 3, 1.0, 0.0, 0.0),
    (15, 16, 0.5, 0.2, 0.0),
    (40, 1, 1.0, 0.0, 0.2),
    (40, 5, 0.5, 1.0, 0.0),
    (40, 16, 1.0, 0.0, 0.0),
]


@pytest.mark.parametrize("blocks", [False, True], ids=["rows", "blocks"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
def test_answers_as_the_definition(dtype, blocks, monkeypatch):
    """Few classes as one block, and in blocks of four of which first one is looked at; with float32 each case once."""
    if blocks:
        monkeypatch.setattr(bigram_search, "_CLASSES", 1)
        monkeypatch.setattr(bigram_search, "_BLOCK", 4)
        monkeypatch.setattr(bigram_search, "_FIRST_BLOCKS", 1)
    rng = np.random.RandomState(7 + blocks)
    ran = close = 0
    for classes, width, weight, bonus, excluded in CASES if dtype is np.float64 or LONG else CASES[blocks::2]:
        model = LanguageModel(make_table(rng, classes, excluded), weight, bonus)
        counts = compare(model, width, dtype, rng, rounds=6 if LONG else 2, batch=25)
        ran, close = ran + counts[0], close + counts[1]
    assert close < 0.02 * ran


def test_many_classes():
    """More classes than are one block, with a table in which most pairs are unlikely."""
    rng = np.random.RandomState(3)
    table = np.full([300, 300], -9.0) + 0.01 * rng.randn(300, 300)
    table[rng.rand(300, 300) < 0.02] = -1
    assert compare(LanguageModel(table, 0.6, 0.3), 4, np.float64, rng, rounds=2, batch=8) == (16, 0)


def test_every_path():
    """All paths are in order of their ranks, with CTC log-probabilities."""
    rng = np.random.RandomState(11)
    model = LanguageModel(make_table(rng, 6), 1.5, 0.4)
    decoder = Decoder(model, 5, paths=5)
    logits = make_logits(np.random.RandomState(0), 7, 30, 6, np.float64)
    for item, found in enumerate(decoder(logits, [7] * 30)):
        expected = Search(model.table, model.weight, model.bonus, 5).run(logits[:, item]).answers
        assert [path for path, _ in found] == [path for path, _ in expected]
        np.testing.assert_allclose([score for _, score in found], [score for _, score in expected], atol=1e-9)


def test_the_model_is_added_once_for_each_label():
    """Two steps, by hand: 'a' is likelier than 'b', but no line begins with it; 'b' may be followed by itself."""
    table = np.log([[1e-9, 1e-9, 1.0], [1e-9, 0.5, 0.5], [0.01, 0.99, 1e-9]])
    chances = np.array([[[0.55, 0.4, 0.05]], [[0.5, 0.45, 0.05]]])
    [[(plain, _)]] = Decoder(None, 3)(np.log(chances), [2])
    [[(path, score)]] = Decoder(LanguageModel(table), 3)(np.log(chances), [2])
    assert plain == (0,)
    assert path == (1,)
    # b-b, b-blank and blank-b are 'b', and the language model has no part in the log-probability.
    assert np.exp(score) == pytest.approx(0.4 * 0.45 + 0.4 * 0.05 + 0.05 * 0.45)


def test_the_end_of_a_line_counts():
    """After 'a' a line never ends."""
    table = np.log([[0.5, 0.5, 1e-9], [0.3, 0.3, 0.4], [0.5, 0.4, 0.1]])
    logits = np.log([[[0.6, 0.3, 0.1]]])
    assert Decoder(LanguageModel(np.where(table < -20, 0.0, table)), 3)(logits, [1])[0][0][0] == (0,)
    assert Decoder(LanguageModel(table), 3)(logits, [1])[0][0][0] == (1,)


@pytest.mark.parametrize("classes, width", [(5, 1), (5, 2), (5, 10), (37, 10), (400, 1), (400, 10)])
@pytest.mark.parametrize("peak", [5, 12])
def test_a_table_of_zeros_changes_nothing(classes, width, peak, monkeypatch):
    """The answers are those of the decoder without a table, but for the prefixes that TensorFlow's op forgets.

    With peaks as of a trained network that changes a log-probability here and there by 1e-5. The table is of one value,
    which the bonus takes away, or has no weight.
    """
    if peak == 5:
        monkeypatch.setattr(BeamSearch, "_extended", lambda self, beams, now, stays: self._all(beams, stays))
    rng = np.random.RandomState(classes * width)
    logits = rng.randn(12, 30, classes)
    label = rng.randint(classes, size=[12, 30])
    label[rng.rand(12, 30) < 0.4] = classes - 1
    np.put_along_axis(logits, label[:, :, None], peak + rng.rand(12, 30, 1), 2)
    lengths = rng.randint(0, 13, 30)
    if peak == 5:
        model = LanguageModel(np.full([classes, classes], -np.log(classes)), weight=0.5, bonus=0.5 * np.log(classes))
    else:
        model = LanguageModel(make_table(rng, classes), weight=0.0)
    plain = Decoder(None, width)(logits, lengths)
    found = Decoder(model, width)(logits, lengths)
    assert [[path for path, _ in item] for item in found] == [[path for path, _ in item] for item in plain]
    np.testing.assert_allclose(
        [item[0][1] for item in found], [item[0][1] for item in plain], atol=1e-6 if peak == 5 else 1e-4
    )


def test_equal_ranks_go_to_the_lower_label():
    """Logits and entries that are all equal: the shorter prefix stays, then the lower label."""
    logits = np.zeros([1, 1, 5])
    found = Decoder(LanguageModel(np.zeros([5, 5])), 3, paths=3)(logits, [1])
    assert [path for path, _ in found[0]] == [(), (0,), (1,)]


def test_repeated_labels_are_merged_on_demand():
    """merge_repeated applies to the answer, as without a language model."""
    chances = np.full([3, 1, 3], 1e-6)
    for t, label in enumerate((0, 2, 0)):
        chances[t, 0, label] = 1
    model = LanguageModel(np.zeros([3, 3]))
    assert Decoder(model, 2)(np.log(chances), [3])[0][0][0] == (0, 0)
    assert Decoder(model, 2, merge=True)(np.log(chances), [3])[0][0][0] == (0,)


def test_an_item_does_not_depend_on_the_others():
    """Longer items and other texts in the batch change nothing, also where blocks are looked at twice."""
    rng = np.random.RandomState(5)
    model = LanguageModel(make_table(rng, 300), 0.7, 0.1)
    decoder = Decoder(model, 4)
    logits = make_logits(np.random.RandomState(0), 9, 12, 300, np.float64)
    lengths = rng.randint(0, 10, 12)
    together = decoder(logits, lengths)
    for item in range(12):
        [alone] = decoder(logits[: max(lengths[item], 1), item : item + 1], lengths[item : item + 1])
        assert together[item][0][0] == alone[0][0]
        assert together[item][0][1] == pytest.approx(alone[0][1], abs=1e-9)


@pytest.mark.parametrize("width", [1, 3])
def test_nothing_to_decode(width):
    """No steps, one class, an empty batch."""
    for shape, lengths in (([3, 2, 4], [-1, 0]), ([3, 2, 1], [3, 3]), ([3, 0, 4], [])):
        decoder = Decoder(LanguageModel(np.zeros([shape[2]] * 2)), width)
        assert decoder(np.zeros(shape), lengths) == [[((), 0.0)]] * shape[1]


def test_other_classes_are_refused():
    """When the graph is built, if it knows; otherwise when it runs."""
    model = LanguageModel(np.zeros([4, 4]))
    with tf.Graph().as_default(), pytest.raises(ValueError) as caught:
        beam_search(tf.zeros([3, 2, 5]), [3, 3], beam_width=2, top_paths=1, merge_repeated=False, language_model=model)
    assert str(caught.value) == "the logits have 5 classes, the language model 4"
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        Decoder(model, 2)(np.zeros([3, 2, 5]), [3, 3])
    assert "the language model" in str(caught.value)


@pytest.mark.parametrize("table", [np.zeros([2, 3]), np.zeros(4), np.full([2, 2], np.nan), np.full([2, 2], np.inf)])
def test_other_tables_are_refused(table):
    """Only a square table of logarithms of probabilities."""
    with pytest.raises(ValueError, match="the table"):
        LanguageModel(table)


def test_not_a_number():
    """A NaN in a sequence is an error, one beyond its end is not."""
    logits = np.zeros([3, 1, 4])
    logits[2, 0, 1] = np.nan
    decoder = Decoder(LanguageModel(np.zeros([4, 4])), 1)
    assert decoder(logits, [2])
    with pytest.raises(tf.errors.InvalidArgumentError, match="NaN or infinite"):
        decoder(logits, [3])
