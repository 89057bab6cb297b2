"""Proposals and text lines by NumPy: equal to the golden answers of the published procedure, page by page."""

from __future__ import annotations

import numpy as np
import pytest

from ckpt2saved.client.detection import Proposals, proposals, text_lines
from ckpt2saved.signature.detection import HEIGHTS, STRIDE, Anchors, LineRules, ProposalRules
from tests.support import golden_rule
from tests.support.detector_answers import random_answers

CASES = ["noise10", "lines10", "lines10b", "lines4", "lines4b"]
GOLDEN = golden_rule.answers("ctpn_lines")
PAGE = (200, 400)


def golden(case):
    """The golden arrays of a case by name, and its anchors."""
    arrays = {name.split("/")[1]: array for name, array in GOLDEN.items() if name.startswith(case + "/")}
    return arrays, Anchors(HEIGHTS[: arrays["bbox_pred"].shape[3] // 4])


def row_of(*boxes, scores=None):
    """Proposals of these boxes, best first."""
    scores = np.linspace(0.99, 0.95, len(boxes)) if scores is None else scores
    return Proposals(np.array(boxes, np.float32), np.array(scores, np.float32))


def cell_answers(heights, scores, deltas=None):
    """The answers of a detector for one cell with these anchors; offsets are 0 if there are none."""
    scores = np.array(scores, np.float32)
    cls_prob = np.stack([1 - scores, scores], axis=-1)[np.newaxis, np.newaxis]
    bbox_pred = np.zeros((len(heights), 4), np.float32) if deltas is None else np.array(deltas, np.float32)
    return cls_prob, bbox_pred.reshape(1, 1, 1, -1), np.array([[100, 100, 1]], np.float32), Anchors(heights)


def assert_same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected):
        for array, wanted in zip(one, other):
            np.testing.assert_array_equal(array, wanted)


@pytest.mark.parametrize("case", CASES)
def test_the_proposals_are_the_golden_ones(case):
    arrays, anchors = golden(case)
    (found,) = proposals(arrays["cls_prob"], arrays["bbox_pred"], arrays["im_info"], anchors)
    assert found.boxes.dtype == found.scores.dtype == np.float32
    np.testing.assert_allclose(found.boxes, arrays["boxes"], rtol=0, atol=1e-3)
    np.testing.assert_allclose(found.scores, arrays["scores"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("is_slanted", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_the_lines_are_the_golden_ones(case, is_slanted):
    """In the order in which the published procedure finds them, from the detector's answers."""
    arrays, anchors = golden(case)
    (found,) = proposals(arrays["cls_prob"], arrays["bbox_pred"], arrays["im_info"], anchors)
    lines = text_lines(found, arrays["im_info"][0, :2], LineRules(is_slanted=is_slanted))
    expected = arrays["lines_O" if is_slanted else "lines_H"]
    assert lines.quads.dtype == lines.scores.dtype == np.float32
    np.testing.assert_allclose(lines.quads, expected[:, :8], rtol=0, atol=1e-3)
    np.testing.assert_allclose(lines.scores, expected[:, 8], rtol=0, atol=1e-6)


@pytest.mark.parametrize("count", [10, 4])
def test_rows_of_text_are_found(count):
    """Of the random answers that other tests compare with, so that these have lines to compare."""
    anchors, found, wanted = Anchors(HEIGHTS[:count]), 0, 0
    for seed in range(5):
        answers = random_answers(seed, batch=2, anchors=anchors)
        pages = proposals(answers.cls_prob, answers.bbox_pred, answers.im_info, anchors)
        for page, size, rows in zip(pages, answers.im_info[:, :2], answers.text_rows):
            lines = text_lines(page, size, LineRules(is_slanted=True))
            centres = lines.quads.reshape(-1, 4, 2).mean(axis=1)
            near = [[abs(row.middle_at(x) - y) < row.height / 4 for row in rows] for x, y in centres]
            assert all(any(one) for one in near), "a line where there is no text"
            found += sum(any(column) for column in zip(*near))
            wanted += len(rows)
    assert 0.8 * wanted <= found <= wanted


def test_a_page_of_a_batch_has_the_proposals_that_it_has_alone():
    answers = random_answers(7, batch=3)
    together = proposals(answers.cls_prob, answers.bbox_pred, answers.im_info)
    for page in range(3):
        alone = answers.of_page(page)
        assert_same(proposals(alone.cls_prob, alone.bbox_pred, alone.im_info), together[page : page + 1])
        height, width = alone.im_info[0, :2]
        x1, y1, x2, y2 = together[page].boxes.T
        assert x1.min() >= 0 and y1.min() >= 0 and x2.max() <= width - 1 and y2.max() <= height - 1
    assert len({page.scores[1] for page in together}) == 3


def test_both_shapes_of_scores_are_the_same():
    answers = random_answers(8, batch=2)
    batch, rows, columns, _ = answers.bbox_pred.shape
    other = answers.cls_prob.reshape(batch, rows, columns, -1)
    expected = proposals(answers.cls_prob, answers.bbox_pred, answers.im_info)
    assert_same(proposals(other, answers.bbox_pred, answers.im_info), expected)


def test_an_empty_batch_has_no_pages():
    answers = random_answers(9)
    assert proposals(answers.cls_prob[:0], answers.bbox_pred[:0], answers.im_info[:0]) == []


@pytest.mark.parametrize("rules, size", [(ProposalRules(min_score=1.5), PAGE), (ProposalRules(), (0, 0))])
def test_a_page_without_proposals_has_no_lines(rules, size):
    answers = random_answers(10)
    im_info = [size + (1,)]
    (found,) = proposals(answers.cls_prob, answers.bbox_pred, im_info, rules=rules)
    assert found.boxes.shape == (0, 4) and found.scores.shape == (0,)
    for is_slanted in (False, True):
        lines = text_lines(found, size, LineRules(is_slanted=is_slanted))
        assert lines.quads.shape == (0, 8) and lines.scores.shape == (0,)
        assert lines.quads.dtype == lines.scores.dtype == np.float32


@pytest.mark.parametrize("which", [1, 3])
@pytest.mark.parametrize(
    "value, box", [(np.nan, None), (np.inf, (0, 0, 16, 99)), (-np.inf, None), (1e6, (0, 0, 16, 99))]
)
def test_deltas_that_are_not_finite(which, value, box):
    """A box is dropped if it is not a number or has no height on the page; an infinite one is clipped to the page."""
    deltas = np.zeros((2, 4))
    deltas[0, which] = value
    (found,) = proposals(*cell_answers((16, 33), [0.9, 0.8], deltas))
    other = [0, 0, 16, 25]  # of the second anchor
    expected = [box, other] if which == 3 and box else [other]
    np.testing.assert_array_equal(found.boxes, expected)


def test_horizontal_deltas_are_not_used():
    answers = random_answers(11)
    changed = answers.bbox_pred.copy()
    changed[..., 0::2] = np.nan
    expected = proposals(answers.cls_prob, answers.bbox_pred, answers.im_info)
    assert_same(proposals(answers.cls_prob, changed, answers.im_info), expected)


def test_scores_that_are_not_numbers_are_dropped():
    (found,) = proposals(*cell_answers((16, 33), [np.nan, 0.8]))
    np.testing.assert_array_equal(found.scores, np.float32([0.8]))


@pytest.mark.parametrize(
    "rules, kept",
    [
        ({}, [0.9, 0.8]),
        ({"min_size": 10}, [0.9, 0.8]),
        ({"min_size": 11}, [0.9]),
        ({"max_overlap": 0.6}, [0.9, 0.8]),
        ({"min_size": 7}, [0.9, 0.8]),
        ({"min_size": 7, "max_overlap": 0.71}, [0.9, 0.8, 0.7]),
        ({"min_score": 0.85}, [0.9]),
        ({"most": 1}, [0.9]),
        ({"most_before_nms": 1}, [0.9]),
    ],
)
def test_rules_of_proposals(rules, kept):
    """Of three boxes in one cell: 0 to 32 (33 pixels), 3 to 12 (10), 5 to 11 (7, so 0.7 of the second)."""
    (found,) = proposals(*cell_answers((48, 8, 5), [0.9, 0.8, 0.7]), rules=ProposalRules(**rules))
    np.testing.assert_array_equal(found.scores, np.float32(kept))


def test_equal_scores_are_taken_in_the_order_of_the_anchors():
    """As TensorFlow's top_k and non-maximum suppression take them."""
    (found,) = proposals(*cell_answers((48, 8, 16), [0.5, 0.9, 0.5]))
    np.testing.assert_array_equal(found.boxes[:, 3] - found.boxes[:, 1], [9, 32, 16])


def test_a_cell_is_16_pixels_and_its_row_comes_first():
    scores = np.float32([[[0.1, 0.9], [0.2, 0.8], [0.3, 0.7]], [[0.4, 0.6], [0.5, 0.5], [0.6, 0.4]]])
    anchors = Anchors((16,), width=8)
    (found,) = proposals(scores[np.newaxis], np.zeros((1, 2, 3, 4)), [[1000, 1000, 1]], anchors)
    x, y = np.meshgrid(np.arange(3) * STRIDE, np.arange(2) * STRIDE)
    boxes = np.stack([x + 3, y, x + 12, y + 16], axis=-1).reshape(-1, 4)
    np.testing.assert_array_equal(found.boxes, boxes)


@pytest.mark.parametrize(
    "boxes, options, count",
    [
        ([(0, 0, 16, 19), (50, 0, 66, 19)], {}, 1),
        ([(0, 0, 16, 19), (51, 0, 67, 19)], {}, 0),
        ([(0, 0, 16, 19), (51, 0, 67, 19)], {"max_gap": 51}, 1),
        ([(0.9, 0, 16, 19), (51, 0, 67, 19)], {}, 0),  # left edges are taken in whole pixels
        ([(0, 0, 16, 19), (50.9, 0, 67, 19)], {}, 1),
        ([(0, 0, 16, 19), (16, 6, 32, 25)], {}, 1),  # 14 of 20 pixels in common
        ([(0, 0, 16, 19), (16, 7, 32, 26)], {}, 0),
        ([(0, 0, 16, 19), (16, 7, 32, 26)], {"min_common_height": 0.65}, 1),
        ([(0, 0, 16, 19), (16, 0, 32, 13)], {}, 1),  # 14 pixels high and 20
        ([(0, 0, 16, 19), (16, 0, 32, 12)], {}, 0),
        ([(0, 0, 16, 19), (16, 0, 32, 12)], {"min_height_ratio": 0.65}, 1),
        ([(0, 0, 16, 19), (16, 0, 32, 19)], {}, 1),  # 33 pixels wide
        ([(0, 0, 16, 19), (15, 0, 31, 19)], {}, 0),
        ([(0, 0, 16, 19), (15, 0, 31, 19)], {"min_width": 31}, 1),
        ([(0, 0, 16, 64), (16, 0, 32, 64)], {}, 1),
        ([(0, 0, 16, 65), (16, 0, 32, 65)], {}, 0),  # half as wide as high
        ([(0, 0, 16, 65), (16, 0, 32, 65)], {"min_aspect_ratio": 0.45}, 1),
        ([(0, 0, 40, 19), (31, 0, 71, 19)], {}, 1),
        ([(0, 0, 40, 19), (25, 0, 65, 19)], {}, 0),  # 0.24 of both in common: one is left, which is no line
        ([(0, 0, 40, 19), (25, 0, 65, 19)], {"max_overlap": 0.25}, 1),
        ([(0, 0, 80, 19)], {}, 0),
    ],
)
def test_rules_of_lines(boxes, options, count):
    lines = text_lines(row_of(*boxes), PAGE, LineRules(**options))
    assert len(lines.quads) == len(lines.scores) == count


@pytest.mark.parametrize(
    "scores, options, right",
    [
        ((0.99, 0.98, 0.97), {}, 48),
        ((0.99, 0.98, 0.7), {}, 32),
        ((0.99, 0.98, 0.7), {"min_proposal_score": 0.69, "min_score": 0.8}, 48),
        ((0.99, 0.98, 0.71), {"min_score": 0.8}, 48),
        ((0.99, 0.98, 0.71), {}, None),  # the mean is less than 0.9
        ((0.875, 0.875, 0.875), {"min_score": 0.874}, 48),
        ((0.875, 0.875, 0.875), {"min_score": 0.875}, None),
    ],
)
def test_scores_of_lines(scores, options, right):
    boxes = [(x, 0, x + 16, 19) for x in (0, 16, 32)]
    lines = text_lines(row_of(*boxes, scores=scores), PAGE, LineRules(**options))
    assert lines.quads[:, 2].tolist() == ([] if right is None else [right])
    if right is not None:
        np.testing.assert_allclose(lines.scores, [np.mean(scores[: right // 16])], rtol=1e-6)


def test_the_neighbour_is_the_best_of_the_nearest():
    """Not a better one farther away; of two at the same place, not the one with the lower score."""
    first, lower, upper, far = (0, 20, 16, 49), (20, 20, 36, 30), (20, 31, 36, 49), (40, 20, 56, 49)
    rules = LineRules(min_common_height=0.3, min_height_ratio=0.3)
    for scores, right in ([0.91, 0.92, 0.93, 0.99], 0.93), ([0.91, 0.93, 0.92, 0.99], 0.93):
        order = np.argsort(scores)[::-1]
        boxes = np.array([first, lower, upper, far])[order]
        lines = text_lines(row_of(*boxes, scores=np.array(scores)[order]), PAGE, rules)
        np.testing.assert_allclose(lines.scores, [np.mean([0.91, right, 0.99])], rtol=1e-6)


@pytest.mark.parametrize("score, lines", [(0.99, [(0, 48), (16, 48)]), (0.96, [(0, 48), (16, 48)]), (0.95, [(16, 48)])])
def test_lines_may_share_boxes(score, lines):
    """The left box fits the right one alone; the right one's nearest is the middle one, of score 0.96."""
    left, middle, right = (0, 0, 16, 19), (16, 0, 32, 11), (32, 0, 48, 15)
    found = Proposals(np.float32([left, middle, right]), np.float32([score, 0.96, 0.94]))
    quads = text_lines(found, PAGE).quads
    assert [(quad[0], quad[2]) for quad in quads] == lines


def test_lines_are_in_the_order_of_the_scores_of_their_first_boxes():
    tops, scores = (0, 40, 80), (0.95, 0.97, 0.96)
    boxes = [(x, top, x + 16, top + 19) for x in (0, 16) for top in tops]
    found = row_of(*boxes, scores=scores + (0.98, 0.92, 0.99))
    lines = text_lines(found, PAGE)
    assert lines.quads[:, 1].tolist() == [40, 80, 0]
    assert_same([text_lines(found, PAGE, LineRules(most=2))], [(lines.quads[:2], lines.scores[:2])])


def test_lines_that_are_not_kept_do_not_count_as_found():
    """`most` is of the lines that are answered."""
    narrow, wide = [(0, 0, 16, 19), (15, 0, 31, 19)], [(0, 40, 16, 59), (16, 40, 32, 59)]
    assert text_lines(row_of(*narrow, *wide), PAGE, LineRules(most=1)).quads[:, 1].tolist() == [40]


@pytest.mark.parametrize("is_slanted", [False, True])
def test_padding_and_the_order_of_proposals_change_nothing(is_slanted):
    """As a signature answers them: padded with zeros."""
    answers = random_answers(12)
    (found,) = proposals(answers.cls_prob, answers.bbox_pred, answers.im_info)
    rules, size = LineRules(is_slanted=is_slanted), answers.im_info[0, :2]
    lines = text_lines(found, size, rules)
    assert len(lines.quads) > 1
    padded = Proposals(np.pad(found.boxes, [(0, 9), (0, 0)], "constant"), np.pad(found.scores, [(0, 9)], "constant"))
    assert_same([text_lines(padded, size, rules)], [lines])
    assert_same([text_lines(Proposals(padded.boxes[::-1], padded.scores[::-1]), size, rules)], [lines])


@pytest.mark.parametrize("slope", [-0.25, 0.25])
def test_a_slanted_line_is_a_rectangle_around_its_centres(slope):
    """Its height is the mean of the boxes' and 2.5. The upright line's top and bottom are those of the fitted edges."""
    boxes = [(x, 100 + slope * x, x + 16, 120 + slope * x) for x in range(16, 160, 16)]
    corners = text_lines(row_of(*boxes), PAGE, LineRules(is_slanted=True)).quads.reshape(4, 2).astype(float)
    sides = np.roll(corners, -1, axis=0) - corners
    assert np.abs(np.sum(sides * np.roll(sides, -1, axis=0), axis=1)).max() < 1e-2
    np.testing.assert_allclose(sides[0], -sides[2], atol=1e-4)
    np.testing.assert_allclose(np.hypot(*sides[1]), 22.5 * np.cos(np.arctan(slope)), rtol=1e-5)
    np.testing.assert_allclose(sides[0][1] / sides[0][0], slope, rtol=1e-5)
    np.testing.assert_allclose(corners.mean(axis=0), [88, 110 + slope * 80], rtol=1e-5)
    upright = text_lines(row_of(*boxes), PAGE).quads.reshape(4, 2)
    ends = sorted([100 + slope * 24, 100 + slope * 152])  # half a box inside of the line
    expected = [[16, ends[0]], [160, ends[0]], [160, ends[1] + 20], [16, ends[1] + 20]]
    np.testing.assert_allclose(upright, expected, rtol=1e-5)


def test_upright_lines_are_clipped_to_the_page():
    found = row_of((0, 0, 16, 19), (16, 0, 32, 19), (32, 0, 48, 19))
    assert text_lines(found, (15, 40)).quads.tolist() == [[0, 0, 39, 0, 39, 14, 0, 14]]
    assert text_lines(found, (15, 32)).quads.tolist() == []  # it is 32 pixels wide, and lines have more
    rising = row_of((0, 9, 16, 28), (16, 4, 32, 23), (32, 0, 48, 19), (48, 0, 64, 19))
    assert text_lines(rising, PAGE).quads[0, 1] == 0  # the fitted edge ends above the page


def test_boxes_with_the_same_centre_are_a_level_line():
    found = row_of((0, 10, 60, 29), (10, 12, 50, 31))
    lines = text_lines(found, PAGE, LineRules(is_slanted=True, max_overlap=0.9))
    np.testing.assert_allclose(lines.quads, [[0, 9.75, 60, 9.75, 60, 31.25, 0, 31.25]], rtol=1e-6)


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"anchors": Anchors(HEIGHTS[:4])},
            r"bbox_pred: shape \(1, 20, 30, 40\), expected \[batch, rows, columns, 16\]",
        ),
        ({"bbox_pred": np.zeros((20, 30, 40))}, r"bbox_pred: shape \(20, 30, 40\)"),
        ({"cls_prob": np.zeros((1, 20, 29, 20))}, r"cls_prob: shape \(1, 20, 29, 20\), expected \(1, 20, 300, 2\)"),
        ({"im_info": [[320, 480]]}, r"im_info: shape \(1, 2\), expected \(1, 3\)"),
        ({"im_info": [320, 480, 1]}, r"im_info: shape \(3,\), expected \(1, 3\)"),
    ],
)
def test_shapes_that_do_not_fit_together(change, message):
    answers = random_answers(13)
    inputs = {"cls_prob": answers.cls_prob, "bbox_pred": answers.bbox_pred, "im_info": answers.im_info}
    inputs.update(change)
    with pytest.raises(ValueError, match=message):
        proposals(**inputs)
