"""The decoder made of stock ops answers as TensorFlow's own CTC beam search does."""

from __future__ import annotations

import functools
import os

import numpy as np
import pytest

pytest.importorskip("tensorflow")

from ckpt2saved.ctc import beam_search
from ckpt2saved.graph.tf1 import tf
from tests.support import ctc_reference

LONG = bool(os.environ.get("CKPT2SAVED_TEST_LONG"))

# Totals nearer than this many float32 spacings of their size are equal to the op: it rounds a few times in each step.
SPACINGS = 3


class Decoders:
    """The op and its replacement in one session, for any shapes."""

    def __init__(self, width, paths, merge, dtype):
        with tf.Graph().as_default() as graph:
            self.logits = tf.placeholder(dtype, [None, None, None])
            self.lengths = tf.placeholder(tf.int32, [None])
            arguments = {"beam_width": width, "top_paths": paths, "merge_repeated": merge}
            self.ours = beam_search(self.logits, self.lengths, **arguments)
            self.theirs = tf.nn.ctc_beam_search_decoder(self.logits, self.lengths, **arguments)
        config = tf.ConfigProto(intra_op_parallelism_threads=2, inter_op_parallelism_threads=1)
        self.session = tf.Session(graph=graph, config=config)

    def run(self, answer, logits, lengths):
        return self.session.run(answer, {self.logits: logits, self.lengths: lengths})

    def both(self, logits, lengths):
        theirs = self.run(self.theirs, logits, lengths)
        return self.run(self.ours, logits, lengths), theirs


@functools.lru_cache(maxsize=None)
def decoders(width, paths=1, merge=False, dtype=tf.float32):
    return Decoders(width, paths, merge, dtype)


def sequences(sparse):
    """The rows of a SparseTensor's value as tuples."""
    rows = [[] for _ in range(sparse.dense_shape[0])]
    for (row, column), value in zip(sparse.indices, sparse.values):
        assert column == len(rows[row])
        rows[row].append(int(value))
    return [tuple(row) for row in rows]


def histories(logits, width, dtype=tf.float32):
    """The beams of both decoders after each step of one item [time, classes]."""
    steps, classes = logits.shape
    counts = ctc_reference.count_prefixes(steps, classes, width)
    ours, theirs = [None] * steps, [None] * steps
    for count in sorted(set(counts)):
        ends = [t for t in range(steps) if counts[t] == count]
        batch = np.repeat(logits[:, None], len(ends), 1)
        answers = decoders(width, count, False, dtype).both(batch, [t + 1 for t in ends])
        for beams, answer in zip((ours, theirs), answers):
            for place, paths in enumerate(zip(*[sequences(path) for path in answer[0]])):
                beams[ends[place]] = list(paths)
    return ours, theirs


class Excuse:
    """Why the answers for an item differ: at `step` two totals near `total` are only `gap` apart."""

    def __init__(self, step, gap, total):
        self.step, self.gap, self.total = step, gap, total
        self.spacings = gap / ctc_reference.spacing(total)


def excuse(logits, width, paths, dtype=tf.float32):
    """Show that the first step at which the beams differ has both outcomes, as far as float32 can tell."""
    ours, theirs = histories(logits, width, dtype)
    replay = ctc_reference.Replay(logits, width)
    for t, beam in enumerate(theirs):
        replay.look(t)
        if beam != ours[t]:
            total = replay.best(replay.forgotten())[-1]
            slack = SPACINGS * ctc_reference.spacing(total)
            gap = max(replay.explain(beam, slack), replay.explain(ours[t], slack))
            assert gap <= slack, f"step {t}: {gap} apart at {total}"
            return Excuse(t, gap, total)
        replay.take(beam)
    # The beams are the same: `paths` of them were taken from equal ones.
    answers = decoders(width, paths, False, dtype).both(logits[:, None], [len(logits)])
    ours, theirs = [[sequences(path)[0] for path in answer[0]] for answer in answers]
    totals = [(replay.prefixes[mine].total, replay.prefixes[other].total) for mine, other in zip(ours, theirs)]
    gap, total = max((abs(mine - other), mine) for mine, other in totals)
    assert ours != theirs, "the beams are the same, the answers are not"
    assert gap <= SPACINGS * ctc_reference.spacing(total), f"{gap} apart at {total}"
    return Excuse(len(logits), gap, total)


def rounding(logits, lengths):
    """What the op's log probability of each item may be off: in each step it adds a logit and takes one away."""
    return 2 * lengths * np.spacing(np.float32(np.abs(logits).max() + np.log(logits.shape[2])))


class Tally:
    """Counts decodes and the excuses of those that differ."""

    def __init__(self):
        self.ran, self.excuses = 0, []

    def compare(self, width, paths, merge, logits, lengths, dtype=tf.float32):
        ours, theirs = decoders(width, paths, merge, dtype).both(logits, lengths)
        self.ran += len(lengths)
        differing = set()
        for mine, other in zip(ours[0], theirs[0]):
            assert mine.indices.dtype == mine.values.dtype == mine.dense_shape.dtype == np.int64
            rows = zip(sequences(mine), sequences(other))
            different = {item for item, (a, b) in enumerate(rows) if a != b}
            if not different:
                for part in mine._fields:
                    np.testing.assert_array_equal(getattr(mine, part), getattr(other, part))
            differing |= different
        allowed = 1e-3 * np.abs(theirs[1]) + rounding(logits, lengths)[:, None]
        # The same paths may have gathered different probabilities, if other paths were kept on the way.
        differing |= set(np.flatnonzero((np.abs(ours[1] - theirs[1]) > allowed).any(1)))
        for item in sorted(differing):
            self.excuses.append(excuse(logits[: lengths[item], item], width, paths, dtype))

    def __str__(self):
        text = f"{self.ran} decodes, {len(self.excuses)} excused"
        if self.excuses:
            text += f", totals at most {max(e.spacings for e in self.excuses):.2g} float32 spacings apart"
        return text


def make_logits(kind, rng, time, batch, classes, dtype=np.float32):
    if kind == "equal":
        return np.full([time, batch, classes], rng.randn(), dtype)
    logits = rng.randn(time, batch, classes)
    if kind == "blanks":
        logits[:, :, -1] += rng.uniform(0, 5)
    if kind == "coarse":
        logits = np.round(logits)
    if kind == "peaked":
        label = rng.randint(classes, size=[time, batch])
        again = rng.rand(time, batch) < 0.5
        for t in range(1, time):
            label[t] = np.where(again[t], label[t - 1], label[t])
        label[rng.rand(time, batch) < 0.3] = classes - 1
        np.put_along_axis(logits, label[:, :, None], rng.uniform(4, 15), 2)
    if kind == "doubtful":
        best, height = rng.randint(classes - 1, size=[time, batch, 1]), rng.uniform(8, 15, [time, batch, 1])
        best[rng.rand(time, batch, 1) < 0.7] = classes - 1
        np.put_along_axis(logits, best, height, 2)
        second = np.where(rng.rand(time, batch, 1) < 0.5, rng.randint(classes, size=[time, batch, 1]), best)
        np.put_along_axis(logits, second, height - np.where(second == best, 0, rng.uniform(0, 3, second.shape)), 2)
    return logits.astype(dtype)


def least_length(classes, width, paths):
    """The shortest sequence after which there are `paths` prefixes."""
    if paths == 1:
        return 0
    counts = ctc_reference.count_prefixes(2 * paths + 2, classes, width)
    return next(t + 1 for t, count in enumerate(counts) if count >= paths)


GRID = [(1, 1), (2, 1), (2, 2), (5, 1), (5, 3), (5, 5), (10, 1), (10, 10), (100, 1), (100, 40), (100, 100)]


@pytest.mark.parametrize("width, paths", GRID if LONG else [(1, 1), (2, 2), (5, 3), (10, 10), (100, 40)])
def test_answers_as_the_op(width, paths):
    """Every kind of logits, few and many classes, ragged lengths: the same tensors."""
    rng = np.random.RandomState(width * 1000 + paths)
    tally = Tally()
    for kind in ("flat", "blanks", "peaked", "equal"):
        for classes in (2, 3, 5, 37, 300, 6000):
            if not LONG and (classes * width > 10000 or kind == "equal" and width > 5):
                continue  # the op, or the explanation of all ties, takes seconds for each of these
            least = least_length(classes, width, paths)
            time = max(least, 3 if classes * width > 100000 else 9) + 2
            batch = 2 if classes * width > 10000 or kind == "equal" else 6
            lengths = rng.randint(least, time + 1, size=batch).astype(np.int32)
            lengths[0] = least
            logits = make_logits(kind, rng, time, batch, classes)
            for merge in (False, True):
                tally.compare(width, paths, merge, logits, lengths)
    print(tally)


@pytest.mark.parametrize("width", [10, 100])
def test_many_classes(width):
    """A short decode among thousands of classes: block maxima, and more labels than a beam looks at first."""
    rng = np.random.RandomState(6000)
    tally = Tally()
    for kind in ("flat", "peaked"):
        time = 8 if width == 10 else 3
        tally.compare(width, 1, False, make_logits(kind, rng, time, 1, 6000), np.array([time], np.int32))
    print(tally)


@pytest.mark.parametrize("kind, width, classes", [("doubtful", 5, 20), ("doubtful", 10, 300), ("peaked", 5, 9)])
def test_forgets_in_many_lines(kind, width, classes):
    """Prefixes in the beam are each other's children, and the best label of a step pushes them out."""
    rng = np.random.RandomState(width)
    tally = Tally()
    for paths in (1, width):
        logits = make_logits(kind, rng, 14, 200, classes)
        tally.compare(width, paths, False, logits, np.full(200, 14, np.int32))
    assert not tally.excuses


def test_ties_go_to_the_lower_label():
    """Logits rounded to whole numbers, but for the blank: a beam of one keeps the first of equal labels."""
    rng = np.random.RandomState(3)
    for classes in (3, 37, 999, 1001, 1033, 3862):
        logits = np.minimum(make_logits("coarse", rng, 12, 5, classes), 2)
        logits[:, :, -1] += 0.3
        ours, theirs = decoders(1).both(logits, [12] * 5)
        for part in ("indices", "values", "dense_shape"):
            np.testing.assert_array_equal(getattr(ours[0][0], part), getattr(theirs[0][0], part))


@pytest.mark.parametrize("width", [2, 3, 7, 20] if LONG else [3, 9])
def test_step_by_step(width):
    """Each step's beam, best first, is what the algorithm makes of the beam before, in float64."""
    rng = np.random.RandomState(width)
    for kind in ("flat", "blanks", "peaked"):
        for classes in (3, 4, 9):
            logits = make_logits(kind, rng, 12, 1, classes)[:, 0]
            replay = ctc_reference.Replay(logits, width)
            for t, beam in enumerate(histories(logits, width)[0]):
                replay.look(t)
                slack = SPACINGS * ctc_reference.spacing(replay.best([])[-1])
                assert replay.explain(beam, slack) <= slack
                replay.take(beam)


def test_forgets_what_the_op_forgets():
    """The op loses the extensions of a prefix that its parent's better extensions push out: found among flat noise."""
    rng = np.random.RandomState(0)
    forgot = 0
    for _ in range(40):
        logits = make_logits("flat", rng, 12, 1, 4)[:, 0]
        (ours,), (theirs,) = [[beams[-1]] for beams in histories(logits, 20)]
        assert ours == theirs
        replay = ctc_reference.Replay(logits, 20)
        for t in range(len(logits)):
            replay.look(t)
            expected = replay.settle()
            forgot += expected != replay.settle(lost=[])
            replay.take(expected)
        assert replay.beam == theirs
    assert forgot > 10


def test_a_beam_of_one_is_not_greedy():
    """`a` in one of three ways (0.5) beats `ab` in one (0.24), though b is the best class of the second step."""
    chances = np.array([[[0.6, 1e-9, 0.4]], [[0.35, 0.4, 0.25]]], np.float32)
    logits = np.log(chances)
    with tf.Graph().as_default(), tf.Session() as session:
        greedy = session.run(tf.nn.ctc_greedy_decoder(logits, [2])[0][0])
    ours, theirs = decoders(1).both(logits, [2])
    assert greedy.values.tolist() == [0, 1]
    assert ours[0][0].values.tolist() == theirs[0][0].values.tolist() == [0]
    # A beam of one adds up what it can see: the empty prefix, from which (blank, a) would come, is not kept.
    np.testing.assert_allclose(np.exp(ours[1]), [[0.36]], rtol=1e-5)


@pytest.mark.skipif(tf.__version__.startswith("1."), reason="TensorFlow 1's op takes float32 only")
def test_float64():
    """TensorFlow 2's op takes float64, with sums in float32."""
    rng = np.random.RandomState(64)
    tally = Tally()
    for width, paths in ((1, 1), (5, 3)):
        for classes in (5, 700):
            logits = make_logits("flat", rng, 9, 4, classes, np.float64)
            tally.compare(width, paths, True, logits, np.array([9, 7, 4, 3], np.int32), tf.float64)
    assert decoders(5, 3, True, tf.float64).ours[1].dtype == tf.float64
    print(tally)


@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize("shape", [[5, 2, 7], [None, 2, 7], [5, None, None]], ids=str)
def test_any_shape_may_be_known(width, shape):
    """Static and dynamic shapes make the same answer."""
    logits = make_logits("flat", np.random.RandomState(7), 5, 2, 7)
    with tf.Graph().as_default(), tf.Session() as session:
        fed = tf.placeholder(tf.float32, shape)
        decoded, _ = beam_search(fed, [5, 3], beam_width=width, top_paths=1, merge_repeated=False)
        values = session.run(decoded[0].values, {fed: logits})
    assert values.tolist() == decoders(width).run(decoders(width).theirs, logits, [5, 3])[0][0].values.tolist()


@pytest.mark.parametrize(
    "arguments, message",
    [
        pytest.param((2, 3), "top_paths=3 is more than beam_width=2", id="more-paths-than-beams"),
        pytest.param((0, 1), "beam_width=0 and top_paths=1 must be at least 1", id="no-beam"),
        pytest.param((1, 0), "beam_width=1 and top_paths=0 must be at least 1", id="no-path"),
    ],
)
def test_wrong_arguments(arguments, message):
    """Refused when the graph is built."""
    with tf.Graph().as_default(), pytest.raises(ValueError) as caught:
        beam_search(tf.zeros([3, 2, 4]), [3, 3], beam_width=arguments[0], top_paths=arguments[1], merge_repeated=False)
    assert str(caught.value) == message


def test_wrong_types():
    """Half precision isn't decoded by the op either; logits without a batch are no logits."""
    with tf.Graph().as_default():
        for logits, error in ((tf.zeros([3, 2, 4], tf.float16), TypeError), (tf.zeros([3, 4]), ValueError)):
            with pytest.raises(error):
                beam_search(logits, [3, 3], beam_width=1, top_paths=1, merge_repeated=False)


@pytest.mark.parametrize(
    "shape, lengths, paths, message",
    [
        pytest.param([3, 2, 4], [4, 3], 1, "is longer than the logits", id="too-long"),
        pytest.param([3, 2, 4], [3], 1, "sequence_length has", id="another-batch"),
        pytest.param([0, 2, 4], [0, 0], 1, "no time steps", id="no-time"),
        pytest.param([3, 2, 0], [3, 3], 1, "no classes", id="no-classes"),
        pytest.param([3, 2, 4], [0, 3], 2, "fewer prefixes", id="no-second-path"),
        pytest.param([3, 2, 1], [3, 3], 2, "fewer prefixes", id="one-class-no-second-path"),
    ],
)
def test_wrong_shapes(shape, lengths, paths, message):
    """The op's own checks, as errors of the graph."""
    for width in (paths, 3):
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            decoders(width, paths).run(decoders(width, paths).ours, np.zeros(shape), lengths)
        assert message in str(caught.value)


@pytest.mark.parametrize("width", [1, 3])
def test_nothing_to_decode(width):
    """A negative length is none, one class is the blank, and an empty batch has an empty answer."""
    for shape, lengths in (([3, 2, 4], [-1, 0]), ([3, 2, 1], [3, 3]), ([3, 0, 4], [])):
        decoded, scores = decoders(width).run(decoders(width).ours, np.zeros(shape), lengths)
        assert decoded[0].values.size == decoded[0].indices.size == 0
        assert decoded[0].dense_shape.tolist() == [shape[1], 0]
        np.testing.assert_array_equal(scores, np.zeros([shape[1], 1]))


@pytest.mark.parametrize("classes", [4, 233, 1033, 3862])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_a_number(classes, value):
    """A beam of one ends where the op's does, wherever the NaN stands; wider beams say that there is one."""
    rng = np.random.RandomState(classes)
    clean = make_logits("flat", rng, 4, 3, classes)
    for label in {0, 1, 2, 31, 32, classes // 2, classes - 2, classes - 1} & set(range(classes)):
        logits = clean.copy()
        logits[2, 1, label] = value
        ours, theirs = decoders(1).both(logits, [4, 4, 4])
        assert sequences(ours[0][0]) == sequences(theirs[0][0])
        np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-3)
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            decoders(3).run(decoders(3).ours, logits, [4, 4, 4])
        assert "NaN or infinite" in str(caught.value)
        beyond, _ = decoders(3).run(decoders(3).ours, logits, [4, 2, 4])
        expected, _ = decoders(3).run(decoders(3).ours, clean, [4, 2, 4])
        assert sequences(beyond[0]) == sequences(expected[0])


def test_impossible_labels():
    """Minus infinity masks labels, as in the op."""
    rng = np.random.RandomState(8)
    for classes in (5, 300):
        logits = make_logits("flat", rng, 9, 4, classes)
        logits[:, :, :-1][rng.rand(9, 4, classes - 1) < 0.6] = -np.inf
        for width in (1, 5):
            ours, theirs = decoders(width).both(logits, [9] * 4)
            assert sequences(ours[0][0]) == sequences(theirs[0][0])
            np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-3)


@pytest.mark.skipif(not LONG, reason="CKPT2SAVED_TEST_LONG=1 runs it")
def test_twenty_thousand_decodes():
    """Random shapes over the whole grid, half of them flat noise over few classes, where the op forgets prefixes."""
    rng = np.random.RandomState(20000)
    tallies = {}
    while sum(tally.ran for tally in tallies.values()) < 20000:
        width, paths = GRID[rng.randint(len(GRID))]
        few = rng.rand() < 0.5
        classes = int(rng.choice([2, 3, 4, 5, 6, 8] if few else [2, 10, 37, 100, 500, 3000]))
        kind = (
            "flat"
            if few
            else str(rng.choice(["flat", "blanks", "peaked", "doubtful", "equal"], p=[0.3, 0.2, 0.2, 0.28, 0.02]))
        )
        least = least_length(classes, width, paths)
        time = least + rng.randint(1, 30 if classes * width < 5000 else 5)
        batch = 40 if classes * width < 5000 else 8
        lengths = rng.randint(least, time + 1, size=batch).astype(np.int32)
        logits = make_logits(kind, rng, time, batch, classes)
        tally = tallies.setdefault("few classes, flat" if few else kind, Tally())
        tally.compare(width, paths, bool(rng.randint(2)), logits, lengths)
    for name in sorted(tallies):
        print(f"{name}: {tallies[name]}")
