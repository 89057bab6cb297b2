"""Lines that the graph cuts out of a page, against the NumPy procedure that clients get, and OpenCV's."""

from __future__ import annotations

import numpy as np
import pytest

from ckpt2saved.client.line_crops import cropped_lines
from ckpt2saved.graph.tf1 import tf, v1_control_flow
from ckpt2saved.signature.steps import CropLines
from ckpt2saved.sources.steps import line_crops

HEIGHT = 16


def of_graph(pixels, quads, step):
    """The lines that the graph cuts out, as the NumPy procedure returns them."""
    with tf.Graph().as_default(), v1_control_flow(), tf.Session() as session:
        picture = tf.placeholder(tf.uint8, [None, None, pixels.shape[2]])
        corners = tf.placeholder(tf.float32, [None, 8])
        feeds = {picture: pixels, corners: quads}
        columns, widths = session.run(line_crops.cropped_lines(picture, corners, step), feeds)
    ends = np.cumsum(widths)
    assert columns.dtype == np.uint8 and columns.shape[0] == widths.sum()
    return [columns[end - width : end].transpose(1, 0, 2) for end, width in zip(ends, widths)]


def smooth(random, rows, columns):
    """A picture whose pixels differ little from their neighbours, so that the last digits of a place matter little."""
    row, column = np.arange(rows)[:, None, None], np.arange(columns)[None, :, None]
    phase = random.uniform(0, 6, 3)
    return (127 + 120 * np.sin(row / 9 + column / 7 + phase)).astype(np.uint8)


def rotated(centre, width, height, degrees):
    """The corners of a rectangle, clockwise from the top left."""
    angle = np.radians(degrees)
    along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    halves = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    return np.concatenate([centre + along * width / 2 * x + across * height / 2 * y for x, y in halves])


@pytest.mark.parametrize("seed", range(20))
def test_random_quads_are_cut_as_by_numpy(seed):
    """Rotated rectangles, any four points, some of them outside of the page, none of one size."""
    random = np.random.RandomState(seed)
    pixels = smooth(random, random.randint(1, 300), random.randint(1, 400))
    size = np.array(pixels.shape[1::-1])
    quads = [
        rotated(random.uniform(0, size), random.uniform(1, 300), random.uniform(1, 120), random.uniform(-40, 40))
        for _ in range(6)
    ]
    quads += [random.uniform(-20, 200, 8) for _ in range(3)] + [np.zeros(8), np.tile([5.0, 7.0], 4)]
    quads = np.array(quads, np.float32)
    step = CropLines("quads", HEIGHT, max_width=100)
    expected = cropped_lines(pixels, quads, HEIGHT, 100)
    found = of_graph(pixels, quads, step)
    assert [line.shape for line in found] == [line.shape for line in expected]
    for line, other in zip(found, expected):
        assert np.abs(line.astype(int) - other).max() <= 1  # one where a half is rounded
        assert (line != other).mean() < 0.02


def test_no_quad_is_no_column():
    assert of_graph(np.zeros((5, 5, 3), np.uint8), np.zeros((0, 8)), CropLines("quads", HEIGHT)) == []


@pytest.mark.parametrize("channels", [1, 3])
def test_a_quad_around_the_page_is_the_page(channels):
    pixels = np.random.RandomState(0).randint(0, 256, (HEIGHT, 40, channels)).astype(np.uint8)
    quad = np.array([[0, 0, 40, 0, 40, HEIGHT, 0, HEIGHT]], np.float32)
    (found,) = of_graph(pixels, quad, CropLines("quads", HEIGHT))
    np.testing.assert_array_equal(found, pixels)
    (found,) = cropped_lines(pixels, quad, HEIGHT)
    np.testing.assert_array_equal(found, pixels)


def test_a_line_of_twice_the_height_is_the_mean_of_its_pixels():
    pixels = np.random.RandomState(0).randint(0, 256, (2 * HEIGHT, 80, 3)).astype(np.uint8)
    quad = np.array([[0, 0, 80, 0, 80, 2 * HEIGHT, 0, 2 * HEIGHT]], np.float32)
    mean = pixels.reshape(HEIGHT, 2, 40, 2, 3).mean(axis=(1, 3))
    for line in of_graph(pixels, quad, CropLines("quads", HEIGHT)) + cropped_lines(pixels, quad, HEIGHT):
        np.testing.assert_array_equal(line, np.floor(mean + 0.5))


def test_a_rotated_line_is_turned_upright_as_opencv_does():
    cv2 = pytest.importorskip("cv2")
    pixels = smooth(np.random.RandomState(3), 200, 300)
    quad = rotated(np.array([150.0, 100.0]), 160, HEIGHT, 17).astype(np.float32)
    (found,) = cropped_lines(pixels, quad[None], HEIGHT)
    # OpenCV has the middle of the first pixel at 0.
    target = np.array([[0, 0], [160, 0], [160, HEIGHT], [0, HEIGHT]], np.float32) - 0.5
    matrix = cv2.getPerspectiveTransform(quad.reshape(4, 2) - 0.5, target)
    expected = cv2.warpPerspective(pixels, matrix, (160, HEIGHT), flags=cv2.INTER_LINEAR)
    assert found.shape == expected.shape and np.abs(found.astype(int) - expected).max() <= 3


@pytest.mark.parametrize(
    "pixels, quads",
    [
        (np.zeros((5, 5), np.uint8), np.zeros((1, 8))),
        (np.zeros((5, 5, 3)), np.zeros((1, 8))),
        (np.zeros((0, 5, 3), np.uint8), np.zeros((1, 8))),
        (np.zeros((5, 5, 3), np.uint8), np.zeros((1, 4, 2))),
    ],
)
def test_other_shapes_are_refused(pixels, quads):
    with pytest.raises(ValueError, match="expected"):
        cropped_lines(pixels, quads)
