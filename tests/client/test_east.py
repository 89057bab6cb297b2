"""The NumPy reference of EAST's quads: conventions of the published code, and its parts against OpenCV."""

from __future__ import annotations

import numpy as np
import pytest

from ckpt2saved.client.east import _mean_under, corners, east_quads, overlap
from ckpt2saved.signature.detection import EastRules
from tests.support.east_maps import corners_of, rendered, words

INFO = np.array([[240, 320, 1]])


def random_quads(number, seed=0):
    rng = np.random.RandomState(seed)
    boxes = [
        (*rng.uniform(100, 140, 2), rng.uniform(2, 90), rng.uniform(2, 60), rng.uniform(-0.8, 0.8))
        for _ in range(number)
    ]
    return np.array([corners_of(box) for box in boxes])


def test_corners_are_those_of_the_published_code():
    """restore_rectangle of github.com/argman/EAST gives these for an angle of 0, a positive and a negative one."""
    pixels = np.array([[100.0, 48], [100, 48], [12, 200]])
    geometry = np.array([[10.0, 30, 5, 20, 0], [10, 30, 5, 20, 0.25], [7, 3, 9, 200, -0.5]])
    wanted = [
        [[80.0, 38.0], [130.0, 38.0], [130.0, 53.0], [80.0, 53.0]],
        [[78.1477, 43.259], [126.5933, 30.8888], [130.3044, 45.4224], [81.8588, 57.7926]],
        [[-160.1605, 97.9718], [17.9887, 195.2952], [10.3179, 209.3365], [-167.8313, 112.0131]],
    ]
    np.testing.assert_allclose(corners(pixels, geometry), wanted, atol=1e-4)


def test_of_eight_channels_each_pair_is_the_pixel_minus_a_corner():
    found = corners(np.array([[100.0, 48]]), np.array([[20.0, 10, -30, 12, -31, -5, 21, -6]]))
    np.testing.assert_array_equal(found, [[[80, 38], [130, 36], [131, 53], [79, 54]]])


def test_overlap_of_quads():
    square = [(0, 0), (1, 0), (1, 1), (0, 1)]
    assert overlap(square, square) == 1
    assert overlap(square, [(x + 0.5, y) for x, y in square]) == pytest.approx(1 / 3)
    assert overlap(square, [(x / 2 + 0.25, y / 2 + 0.25) for x, y in square]) == pytest.approx(1 / 4)
    assert overlap(square, [(0.5, 0), (1, 0.5), (0.5, 1), (0, 0.5)]) == pytest.approx(1 / 2)
    assert overlap(square, [(x + 1, y) for x, y in square]) == 0
    assert overlap(square, [(x + 3, y) for x, y in square]) == 0


def test_overlap_is_opencvs():
    cv2 = pytest.importorskip("cv2")
    for first, second in zip(random_quads(100), random_quads(100, seed=1)):
        shared = cv2.intersectConvexConvex(first.astype("float32"), second.astype("float32"))[0]
        both = cv2.contourArea(first.astype("float32")) + cv2.contourArea(second.astype("float32"))
        assert overlap(first.tolist(), second.tolist()) == pytest.approx(shared / (both - shared), abs=1e-4)


def test_the_mean_is_of_the_cells_that_opencv_fills():
    """No cell that cv2.fillPoly leaves out, and all that it fills; OpenCV 4 fills a few more at the right border."""
    cv2 = pytest.importorskip("cv2")
    score = np.random.RandomState(0).uniform(size=(60, 60)).astype("float32")
    for quad in random_quads(200).astype("float32"):
        mask = np.zeros(score.shape, "uint8")
        cv2.fillPoly(mask, quad[None].astype("int32") // 4, 1)
        assert _mean_under(quad, mask, 4) == 1
        if int(cv2.__version__.split(".")[0]) >= 5:
            assert _mean_under(quad, score, 4) == pytest.approx(cv2.mean(score, mask)[0], abs=1e-6)


def test_cells_are_merged_row_by_row_weighted_by_score():
    """The second cell joins the first; the third overlaps neither enough; in the next row all starts anew."""
    score = np.zeros((1, 60, 80, 1), "float32")
    geometry = np.zeros((1, 60, 80, 5), "float32")
    for row, column, value, distances in (
        (10, 10, 0.9, (10, 20, 10, 20)),
        (10, 11, 0.85, (10, 18, 12, 24)),
        (10, 30, 1.0, (10, 20, 10, 20)),
        (30, 10, 0.95, (10, 20, 10, 20)),
    ):
        score[0, row, column], geometry[0, row, column, :4] = value, distances
    (found,) = east_quads(score, geometry, INFO, EastRules(min_mean_score=0.0))
    merged = (
        0.9 * np.array([20, 30, 60, 30, 60, 50, 20, 50]) + 0.85 * np.array([20, 30, 62, 30, 62, 52, 20, 52])
    ) / 1.75
    wanted = [merged, [100, 30, 140, 30, 140, 50, 100, 50], [20, 110, 60, 110, 60, 130, 20, 130]]
    np.testing.assert_allclose(found.quads, wanted, rtol=1e-5)


@pytest.mark.parametrize("channels", [5, 8])
@pytest.mark.parametrize("angle", [0.0, 0.3, -0.2])
def test_every_word_is_found_once(angle, channels):
    boxes = words(angle=angle)
    (found,) = east_quads(*rendered((60, 80), boxes, noise=0.02, channels=channels), INFO)
    assert len(found.quads) == len(boxes)
    quads = found.quads.reshape(-1, 4, 2).tolist()
    assert all(max(overlap(quad, corners_of(box).tolist()) for quad in quads) > 0.85 for box in boxes)
    assert ((found.scores > 0.1) & (found.scores < 1)).all()


def test_a_quad_with_little_text_under_it_is_dropped():
    """As in the published code: the mean of the score map must exceed 0.1."""
    score, geometry = np.zeros((1, 60, 80, 1), "float32"), np.zeros((1, 60, 80, 5), "float32")
    score[0, 30, 40], geometry[0, 30, 40, :4] = 1, 60
    assert east_quads(score, geometry, INFO)[0].quads.shape == (0, 8)
    assert len(east_quads(score, geometry, INFO, EastRules(min_mean_score=0.0005))[0].scores) == 1
