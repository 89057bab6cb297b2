"""Pictures are resized as OpenCV and Pillow resize them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ckpt2saved.graph.tf1 import tf
from ckpt2saved.signature.steps import Resize, ResizePage
from ckpt2saved.sources.steps.resizing import new_size, resized

ROOT = Path(__file__).resolve().parents[3]
PICTURES = ("examples/crnn/images/zurich.png", "examples/ctpn/page.png", "docs/ctc-decoders.png")


def as_floats(pixels):
    return tf.cast(pixels, tf.float32)


def graph_resized(picture, step):
    with tf.Graph().as_default(), tf.Session() as session:
        pixels = tf.placeholder(tf.uint8, [None, None, 3])
        return session.run(resized(pixels, step, as_floats), {pixels: picture})


@pytest.mark.parametrize("height", [8, 16, 20, 31, 32, 47, 64, 100, 200])
@pytest.mark.parametrize("name", PICTURES)
def test_bilinear_is_opencvs_linear(name, height):
    """Within one gray level of INTER_LINEAR on real pictures, both when they shrink and when they grow."""
    cv2 = pytest.importorskip("cv2")
    picture = cv2.imread(str(ROOT / name))
    found = graph_resized(picture, Resize(height))
    wanted = cv2.resize(picture, (found.shape[1], height), interpolation=cv2.INTER_LINEAR)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= 1


@pytest.mark.parametrize("size", [(32, 100), (200, 500), (31, 500), (200, 100), (80, 112), (160, 224)])
@pytest.mark.parametrize("method", ["bilinear", "area"])
def test_a_fixed_size_is_opencvs(method, size):
    """Within one gray level, where both sides shrink, both grow, or one of them does."""
    cv2 = pytest.importorskip("cv2")
    picture = cv2.imread(str(ROOT / PICTURES[1]))
    found = graph_resized(picture, Resize(size[0], width=size[1], method=method))
    kind = {"bilinear": cv2.INTER_LINEAR, "area": cv2.INTER_AREA}[method]
    wanted = cv2.resize(picture, size[::-1], interpolation=kind)
    assert np.abs(found - wanted).max() <= 1


@pytest.mark.parametrize("height", [8, 20, 31, 32, 47, 100, 200])
@pytest.mark.parametrize("name", PICTURES)
def test_area_is_opencvs(name, height):
    cv2 = pytest.importorskip("cv2")
    picture = cv2.imread(str(ROOT / name))
    found = graph_resized(picture, Resize(height, method="area"))
    wanted = cv2.resize(picture, (found.shape[1], height), interpolation=cv2.INTER_AREA)
    assert np.abs(found - wanted).max() <= 1


@pytest.mark.parametrize("height", [8, 20, 31, 32, 47, 100, 200])
@pytest.mark.parametrize("name", PICTURES)
def test_pillow_bilinear_is_pillows(name, height):
    """Within one gray level: Pillow rounds after each of the two sides."""
    image = pytest.importorskip("PIL.Image")
    picture = image.open(str(ROOT / name)).convert("RGB")
    found = graph_resized(np.asarray(picture), Resize(height, method="pillow_bilinear"))
    wanted = np.asarray(picture.resize((found.shape[1], height), getattr(image, "Resampling", image).BILINEAR))
    assert np.abs(found - wanted).max() <= 1


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(32, 100, 100), (64, 101, 51), (64, 99, 50), (24, 61, 81), (1000, 3, 1), (1, 50, 1600), (48, 1, 1)],
)
def test_the_width_is_rounded_to_the_nearest(height, width, expected):
    """Of two as near, the larger; at least 1."""
    with tf.Graph().as_default(), tf.Session() as session:
        size = [tf.constant(value, tf.int64) for value in (height, width)]
        assert tuple(session.run(new_size(*size, Resize(32)))) == (32, expected)


@pytest.mark.parametrize(
    "height, width, size",
    [
        (1200, 600, (1200, 608)),
        (300, 450, (608, 912)),  # 600 x 900, rounded up
        (2400, 1200, (1200, 608)),
        (600, 3000, (240, 1200)),  # the long side is the limit
        (3000, 500, (1200, 208)),
        (1, 1, (608, 608)),
        (1, 5000, (16, 1200)),
        (599, 601, (608, 608)),
        (4000, 3999, (608, 608)),
    ],
)
def test_a_page_is_resized_by_one_factor(height, width, size):
    """To the short side, unless the long side becomes too long; then both sides are rounded up to the multiple."""
    step = ResizePage(short_side=600, max_long_side=1200, multiple=16)
    with tf.Graph().as_default(), tf.Session() as session:
        found = session.run(new_size(tf.constant(height, tf.int64), tf.constant(width, tf.int64), step))
    assert tuple(found) == size
