"""EAST's quads in the graph are those of the NumPy reference."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from ckpt2saved.client import east as reference
from ckpt2saved.graph.tf1 import tf, v1_control_flow
from ckpt2saved.signature.detection import EastRules
from ckpt2saved.sources.steps import east
from tests.support.east_maps import corners_of, rendered, words

RULES = EastRules(most=60)
SIZE = (60, 80)


def built(rules, channels):
    """Return a function of score, geometry and im_info that runs a new graph."""
    graph = tf.Graph()
    with graph.as_default(), v1_control_flow():
        inputs = [tf.placeholder(tf.float32, [None, None, None, depth]) for depth in (1, channels)]
        inputs.append(tf.placeholder(tf.float32, [None, 3]))
        made = east.east_quads(*inputs, rules)
    shapes = [made[name].shape.as_list() for name in ("quads", "scores", "count")]
    assert shapes == [[None, rules.most, 8], [None, rules.most], [None]]
    session = tf.Session(graph=graph)
    return lambda *values: session.run(made, dict(zip(inputs, values)))


once_built = functools.lru_cache(maxsize=None)(built)


def run(score, geometry, info=None, rules=RULES):
    return once_built(rules, geometry.shape[3])(score, geometry, whole(score) if info is None else info)


def whole(score):
    return np.tile(np.array([score.shape[1] * 4, score.shape[2] * 4, 1], "float32"), (len(score), 1))


def assert_equals_reference(score, geometry, info=None, rules=RULES):
    """Return how many quads each page has."""
    info = whole(score) if info is None else info
    return assert_equal(run(score, geometry, info, rules), reference.east_quads(score, geometry, info, rules))


def assert_equal(found, pages):
    for page, quads, scores, count in zip(pages, found["quads"], found["scores"], found["count"]):
        assert count == len(page.scores)
        np.testing.assert_allclose(quads[:count], page.quads, atol=1e-3)
        np.testing.assert_allclose(scores[:count], page.scores, atol=1e-5)
        assert not quads[count:].any() and not scores[count:].any()
    return [len(page.scores) for page in pages]


def random_maps(seed, size=(30, 40), channels=5, angle=0.7):
    """Text everywhere, without order: runs end after a few cells."""
    rng = np.random.RandomState(seed)
    score, distances = rng.uniform(size=(1, *size, 1)), rng.uniform(0, 1, (1, *size, 5))
    geometry = distances * [30, 80, 30, 80, 2 * angle] - [0, 0, 0, 0, angle]
    if channels == 8:
        corners = np.array([20, 8, -20, 8, -20, -8, 20, -8]) + rng.uniform(-10, 10, (1, *size, 8))
        geometry = corners
    return score.astype("float32"), geometry.astype("float32")


def sliding(size=(20, 100)):
    """Each cell's quad is 40 pixels wide around it, along lines that are longer: where a run ends depends on its start."""
    score, geometry = np.zeros((1, *size, 1), "float32"), np.zeros((1, *size, 5), "float32")
    rows, columns = np.mgrid[: size[0], : size[1]]
    score[0, ..., 0] = np.where(rows % 5 < 2, 0.85 + 0.001 * (columns % 7), 0)
    geometry[..., :4] = [6, 20, 6, 20]
    geometry[0, ..., 1] += rows
    return score, geometry


@pytest.mark.parametrize("channels", [5, 8])
@pytest.mark.parametrize("noise", [0.0, 0.03])
@pytest.mark.parametrize("angle", [0.0, 0.3, -0.2])
def test_words(angle, noise, channels):
    assert assert_equals_reference(*rendered(SIZE, words(angle=angle), noise=noise, channels=channels)) == [15]


@pytest.mark.parametrize("channels", [5, 8])
@pytest.mark.parametrize("seed", range(4))
def test_random_maps(seed, channels):
    (count,) = assert_equals_reference(*random_maps(seed, channels=channels), rules=EastRules(min_score=0.5, most=200))
    assert count > 10


def test_quads_that_slide_along_a_line():
    (count,) = assert_equals_reference(*sliding())
    assert count > 20


@pytest.mark.parametrize("rounds", [0, 1])
def test_joined_segments_are_the_sequential_pass(monkeypatch, rounds):
    """Segments that were separated wrongly are joined, and after too many rounds all cells are one segment."""
    monkeypatch.setattr(east, "_ROUNDS", rounds)
    rules = EastRules(min_score=0.3, most=200)
    runner = built(rules, 5)
    for seed in range(4):
        score, geometry = random_maps(seed)
        pages = reference.east_quads(score, geometry, whole(score), rules)
        assert_equal(runner(score, geometry, whole(score)), pages)


def test_limits():
    """The best cells, the best merged quads, and the first quads are kept; what is left out is the same."""
    score, geometry = rendered(SIZE, words(), noise=0.03)
    for limit in ({"most_cells": 100}, {"most_before_nms": 20}, {"most": 5}):
        assert_equals_reference(score, geometry, rules=EastRules(**{"most": 60, **limit}))
    assert assert_equals_reference(score, geometry, rules=EastRules(most=5)) == [5]
    assert assert_equals_reference(score, geometry, rules=EastRules(most_cells=1)) == [1]


def test_another_stride():
    score, geometry = rendered(SIZE, words(), noise=0.03)
    info = np.array([[120, 160, 1]], "float32")
    assert assert_equals_reference(score, geometry / 2, info, EastRules(stride=2)) == [15]


def test_each_page_of_a_batch_is_what_it_is_alone():
    """To the last bit, whatever lies in the padding; the sizes are no multiples of the stride."""
    pages = [
        (rendered(SIZE, words(1), noise=0.03), (240, 320)),
        (rendered((41, 67), words(2, angle=0.1), noise=0.03), (161, 267)),
        (random_maps(3), (120, 160)),
        ((np.zeros((1, 7, 5, 1), "float32"), np.zeros((1, 7, 5, 5), "float32")), (28, 20)),
    ]
    score = np.full((len(pages), *SIZE, 1), 0.99, "float32")
    geometry = np.full((len(pages), *SIZE, 5), 20, "float32")
    info = np.array([[*size, 1] for _, size in pages], "float32")
    for i, ((own_score, own_geometry), _) in enumerate(pages):
        score[i, : own_score.shape[1], : own_score.shape[2]] = own_score[0]
        geometry[i, : own_score.shape[1], : own_score.shape[2]] = own_geometry[0]
    together = run(score, geometry, info)
    assert (together["count"] > 0).tolist() == [True, True, True, False]
    for i, ((own_score, own_geometry), _) in enumerate(pages):
        alone = run(own_score, own_geometry, info[i : i + 1])
        for name, value in alone.items():
            np.testing.assert_array_equal(together[name][i], value[0])


def test_pages_without_text_and_no_page():
    score, geometry = np.zeros((2, 8, 8, 1), "float32"), np.zeros((2, 8, 8, 5), "float32")
    assert assert_equals_reference(score, geometry) == [0, 0]
    none = run(score[:0], geometry[:0])
    assert {name: value.shape for name, value in none.items()} == {
        "quads": (0, 60, 8),
        "scores": (0, 60),
        "count": (0,),
    }
    assert assert_equals_reference(score[:, :0], geometry[:, :0]) == [0, 0]
    assert assert_equals_reference(score[:, :, :0], geometry[:, :, :0]) == [0, 0]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, -3e38, 1e12, -100.0])
def test_cells_that_are_no_text_spoil_no_other(value):
    """Scores and distances that are not finite, huge or negative: the other words are found as before."""
    score, geometry = rendered(SIZE, words(), noise=0.03)
    clean = run(score, geometry)
    score[0, ::7, ::9], geometry[0, ::7, ::9, 0] = 0.99, value
    if not np.isfinite(value):
        score[0, 3::7, 3::9] = value
    assert assert_equals_reference(score, geometry) == clean["count"].tolist() == [15]


@pytest.mark.parametrize("size", [(np.nan, 320), (240, np.nan), (0, 320), (-8, 320), (-np.inf, 320)])
def test_a_size_that_is_none_has_no_text(size):
    score, geometry = rendered(SIZE, words())
    assert assert_equals_reference(score, geometry, np.array([[*size, 1]], "float32")) == [0]


def test_a_size_beyond_the_map_is_that_of_the_map():
    score, geometry = rendered(SIZE, words())
    assert assert_equals_reference(score, geometry, np.array([[1e9, np.inf, 1]], "float32")) == [15]


def test_in_the_body_of_a_loop():
    score, geometry = rendered(SIZE, words(), noise=0.03)
    with tf.Graph().as_default(), v1_control_flow(), tf.Session() as session:
        maps = tf.constant(score), tf.constant(geometry), tf.constant(whole(score))

        def step(i, quads, count):
            made = east.east_quads(*maps, RULES)
            return i + 1, quads + made["quads"], count + made["count"]

        start = [tf.constant(0), *(tf.zeros_like(east.east_quads(*maps, RULES)[name]) for name in ("quads", "count"))]
        quads, count = session.run(tf.while_loop(lambda i, *_: i < 3, step, start)[1:])
    once = run(score, geometry)
    np.testing.assert_allclose(quads, 3 * once["quads"], rtol=1e-6)
    assert count.tolist() == [45]


def test_overlaps_are_those_of_the_reference():
    """Also of quads that are equal, that share sides or corners, that lie in each other, or apart."""
    rng = np.random.RandomState(0)
    boxes = [(*rng.uniform(0, 90, 2), *rng.uniform(4, 90, 2), rng.uniform(-0.8, 0.8)) for _ in range(60)]
    boxes += [(50 + 10 * i, 50, 20, 10, 0.0) for i in range(4)]
    boxes += [(50, 50, 40 / (i + 1), 30 / (i + 1), 0.3) for i in range(4)]
    quads = np.array([corners_of(box) for box in boxes])
    quads = np.concatenate([quads, quads[:8] + rng.uniform(-1e-9, 1e-9, (8, 4, 2)), quads[60:64] + [10, 10]])
    first, second = (index.ravel() for index in np.mgrid[: len(quads), : len(quads)])
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = [tf.placeholder(tf.float64, [None, 4, 2]) for _ in range(2)]
        found = session.run(east.overlaps(*inputs), dict(zip(inputs, (quads[first], quads[second]))))
    wanted = [reference.overlap(quads[i].tolist(), quads[j].tolist()) for i, j in zip(first, second)]
    np.testing.assert_allclose(found, wanted, atol=1e-6)
