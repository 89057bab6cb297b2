"""Proposals in the graph are those of the published code and of the NumPy reference."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from ckpt2saved.client import detection
from ckpt2saved.graph.tf1 import tf, v1_control_flow
from ckpt2saved.signature.detection import HEIGHTS, Anchors, ProposalRules
from ckpt2saved.sources.steps.proposals import decoded_proposals
from tests.support.detector_answers import random_answers
from tests.support.golden_rule import answers

ANCHORS, RULES = Anchors(), ProposalRules()
CASES = ("noise10", "lines10", "lines10b", "lines4", "lines4b")


def golden(case):
    """The values of a case, by name."""
    return {name.split("/")[1]: value for name, value in answers("ctpn_lines").items() if name.startswith(case + "/")}


@functools.lru_cache(maxsize=None)
def built(anchors, rules):
    """A session, what is fed, and the results; nothing is known of the shapes."""
    with tf.Graph().as_default() as graph:
        given = [tf.placeholder(tf.float32) for _ in range(3)]
        return tf.Session(graph=graph), given, decoded_proposals(*given, anchors, rules)


def proposals(cls_prob, bbox_pred, im_info, anchors=ANCHORS, rules=RULES):
    session, given, results = built(anchors, rules)
    found = session.run(results, dict(zip(given, (cls_prob, bbox_pred, im_info))))
    batch = len(im_info)
    assert found["boxes"].shape == (batch, rules.most, 4) and found["boxes"].dtype == np.float32
    assert found["scores"].shape == (batch, rules.most) and found["scores"].dtype == np.float32
    assert found["count"].shape == (batch,) and found["count"].dtype == np.int32
    for page, count in enumerate(found["count"]):
        assert not found["boxes"][page, count:].any() and not found["scores"][page, count:].any()
    return found


def check_page(found, page, boxes, scores):
    count = found["count"][page]
    assert count == len(boxes)
    np.testing.assert_allclose(found["boxes"][page, :count], boxes, rtol=0, atol=1e-3)
    np.testing.assert_array_equal(found["scores"][page, :count], np.ravel(scores))


def check_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


@pytest.mark.parametrize("case", CASES)
def test_proposals_are_those_of_the_published_code(case):
    wanted = golden(case)
    anchors = Anchors(HEIGHTS[: wanted["bbox_pred"].shape[3] // 4])
    found = proposals(wanted["cls_prob"], wanted["bbox_pred"], wanted["im_info"], anchors)
    check_page(found, 0, wanted["boxes"], wanted["scores"])


@pytest.mark.parametrize("first", range(0, 36, 12))
def test_proposals_are_those_of_numpy(first):
    for seed in range(first, first + 12):
        cells = (7 + 5 * seed % 16, 8 + 7 * seed % 25)
        given = random_answers(seed, batch=3, cells=cells, text_rows=seed % 9)
        found = proposals(*given[:3])
        for page, wanted in enumerate(detection.proposals(*given[:3])):
            check_page(found, page, *wanted)


@pytest.mark.parametrize(
    ("anchors", "rules"),
    [
        pytest.param(Anchors((20, 40), width=8), ProposalRules(), id="narrow-anchors"),
        pytest.param(Anchors((20, 40, 90), width=33), ProposalRules(max_overlap=0.3), id="wide-anchors"),
        pytest.param(Anchors(), ProposalRules(min_score=0.5, min_size=17), id="limits"),
        pytest.param(Anchors(), ProposalRules(most_before_nms=100), id="few-before"),
        pytest.param(Anchors(), ProposalRules(most=37), id="few-behind"),
        pytest.param(Anchors(), ProposalRules(max_overlap=1.0, most=2500), id="any-overlap"),
    ],
)
def test_rules_and_anchors_may_be_others(anchors, rules):
    given = random_answers(5, batch=2, cells=(9, 14), anchors=anchors)
    found = proposals(*given[:3], anchors, rules)
    for page, wanted in enumerate(detection.proposals(*given[:3], anchors, rules)):
        check_page(found, page, *wanted)
    assert found["count"].any()


def test_a_page_is_answered_as_it_is_alone():
    given = random_answers(11, batch=4, cells=(13, 17))
    found = proposals(*given[:3])
    for page in range(4):
        check_same(proposals(*given.of_page(page)[:3]), {name: value[[page]] for name, value in found.items()})


def test_scores_of_a_cell_may_be_one_dimension():
    given = random_answers(2, batch=2, cells=(6, 9))
    flat = given.cls_prob.reshape(2, 6, 9, -1)
    check_same(proposals(flat, *given[1:3]), proposals(*given[:3]))


def test_equal_scores_are_taken_in_the_order_of_the_anchors():
    given = random_answers(3, cells=(6, 9))
    cls_prob = np.round(given.cls_prob, 1)
    found = proposals(cls_prob, *given[1:3])
    (wanted,) = detection.proposals(cls_prob, *given[1:3])
    check_page(found, 0, *wanted)
    assert len(np.unique(wanted.scores)) < len(wanted.scores) / 2


def one_cell(dy=(0.0, 0.0), dh=(0.0, 0.0), scores=(0.9, 0.8), info=(160.0, 160.0, 1.0), heights=(16, 48), rules=RULES):
    """The proposals of a page of one cell."""
    deltas = np.zeros((1, 1, 1, len(heights), 4), np.float32)
    deltas[..., 0], deltas[..., 2] = 7.0, 7.0  # dx and dw, which are not used
    deltas[..., 1], deltas[..., 3] = dy, dh
    cls_prob = np.stack([np.zeros_like(scores), scores], axis=-1).astype("float32")[None, None]
    found = proposals(cls_prob, deltas.reshape(1, 1, 1, -1), np.array([info], np.float32), Anchors(heights), rules)
    return found["boxes"][0, : found["count"][0]].tolist(), found["scores"][0, : found["count"][0]].tolist()


def test_a_box_as_high_as_the_page():
    """An offset may overflow: the box ends at the edges of the page."""
    boxes, scores = one_cell(dh=(1000.0, -1000.0))
    assert boxes == [[0.0, 0.0, 16.0, 159.0]]
    assert scores == [pytest.approx(0.9)]


NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    "changed",
    [
        {"dy": (NAN, 0.0)},
        {"dh": (NAN, 0.0)},
        {"dy": (INFINITE, 0.0)},
        {"dy": (-INFINITE, 0.0), "dh": (INFINITE, 0.0)},
        {"scores": (NAN, 0.8)},
    ],
)
def test_what_is_not_a_number_is_no_proposal(changed):
    """And does not disturb the other box."""
    boxes, scores = one_cell(**changed)
    assert boxes == [[0.0, 0.0, 16.0, 32.0]]
    assert scores == [pytest.approx(0.8)]


@pytest.mark.parametrize("cells", [(4, 5), (20, 30)])
def test_of_a_page_of_offsets_that_are_no_numbers_nothing_is_left(cells):
    """Of any number of boxes: the minimum of a number and NaN may differ in a vector and behind the last whole one."""
    given = random_answers(1, cells=cells)
    for offset in (1, 3):
        deltas = given.bbox_pred.copy()
        deltas[..., offset::4] = NAN
        assert proposals(given.cls_prob, deltas, given.im_info)["count"].tolist() == [0]
    assert proposals(*given[:2], np.array([[NAN, 300, 1]], np.float32))["count"].tolist() == [0]
    assert proposals(*given[:2], np.array([[300, NAN, 1]], np.float32))["count"].tolist() == [0]


@pytest.mark.parametrize("info", [(0.0, 0.0, 1.0), (160.0, 7.0, 1.0), (NAN, 160.0, 1.0), (-5.0, -5.0, 1.0)])
def test_a_page_without_room_has_no_proposals(info):
    assert one_cell(info=info) == ([], [])


@pytest.mark.parametrize(("max_overlap", "count"), [(0.5, 1), (0.5001, 2), (0.4999, 1)])
def test_a_box_that_overlaps_as_much_as_the_threshold_is_dropped(max_overlap, count):
    """Of 17 x 17 pixels, and of 17 x 34: exactly half."""
    info = (34.0, 160.0, 1.0)
    boxes, _ = one_cell(dh=(0.0, 1000.0), info=info, rules=ProposalRules(max_overlap=max_overlap))
    assert boxes == [[0.0, 0.0, 16.0, 16.0], [0.0, 0.0, 16.0, 33.0]][:count]


def test_of_two_boxes_in_one_place_one_is_dropped():
    """Even if any overlap is allowed."""
    boxes, _ = one_cell(heights=(16, 16), rules=ProposalRules(max_overlap=1.0))
    assert boxes == [[0.0, 0.0, 16.0, 16.0]]


@pytest.mark.parametrize(("batch", "cells"), [(0, (5, 6)), (2, (0, 6)), (2, (5, 0))])
def test_nothing_has_no_proposals(batch, cells):
    """No page, and pages too small for a cell."""
    shape = (batch,) + cells
    found = proposals(
        np.zeros(shape[:2] + (shape[2] * 10, 2)), np.zeros(shape + (40,)), np.full((batch, 3), 12, np.float32)
    )
    assert found["count"].tolist() == [0] * batch


def test_shapes_are_known():
    """As far as those of the inputs are."""
    for batch in (None, 5):
        with tf.Graph().as_default():
            given = [tf.placeholder(tf.float32, [batch] + [None] * rank) for rank in (3, 3, 1)]
            found = decoded_proposals(*given, Anchors(), ProposalRules(most=70))
        shapes = {name: value.shape.as_list() for name, value in found.items()}
        assert shapes == {"boxes": [batch, 70, 4], "scores": [batch, 70], "count": [batch]}


def test_proposals_in_the_body_of_a_loop():
    """Page by page of a batch."""
    given = random_answers(4, batch=3, cells=(8, 11))
    with tf.Graph().as_default(), v1_control_flow(), tf.Session() as session:
        values = [tf.constant(value) for value in given[:3]]

        def step(page, counts):
            found = decoded_proposals(*[value[page : page + 1] for value in values], Anchors(), ProposalRules())
            return page + 1, counts.write(page, found["count"][0])

        loop = tf.while_loop(lambda page, _: page < 3, step, [0, tf.TensorArray(tf.int32, 3)])
        found = session.run(loop[1].stack())
    assert found.tolist() == [len(wanted.boxes) for wanted in detection.proposals(*given[:3])]
