"""Answers of a detector, drawn on its picture."""

from __future__ import annotations

import numpy as np
import pytest

from ckpt2saved.answers.drawn_page import check_drawable, draw_page
from ckpt2saved.errors import Ckpt2SavedError, UsageError
from ckpt2saved.signature.tensors import Signature, TensorSpec
from ckpt2saved.sources.example_pictures import png

Image = pytest.importorskip("PIL.Image")
RED, BLUE = (198, 40, 40), (21, 101, 192)


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "page.png"
    Image.new("RGB", (200, 100), "white").save(str(path))
    return path


def drawn(page, answers):
    file = page.parent / "drawn.png"
    count = draw_page(page, answers, file)
    return count, Image.open(str(file)).convert("RGB")


def test_lines_are_drawn_by_their_corners(page):
    """Each in a colour of its own, and nothing of the padding behind them."""
    quads = np.array(
        [[10, 10, 90, 10, 90, 30, 10, 30], [20, 50, 150, 60, 150, 80, 20, 70], [99, 5, 199, 5, 199, 9, 99, 9]]
    )
    count, picture = drawn(page, {"quads": quads.astype("float32"), "count": np.array(2)})
    assert count == 2 and picture.size == (200, 100)
    assert [picture.getpixel(at) for at in ((10, 20), (50, 10), (50, 30))] == [RED] * 3
    assert [picture.getpixel(at) for at in ((20, 60), (150, 70))] == [BLUE] * 2
    assert picture.getpixel((50, 20)) == picture.getpixel((150, 5)) == (255, 255, 255)


def test_boxes_are_drawn_as_rectangles(page):
    """x1, y1, x2, y2, without a count all of them."""
    count, picture = drawn(page, {"boxes": np.array([[10, 10, 90, 30]], "float32")})
    assert count == 1
    assert [picture.getpixel(at) for at in ((10, 20), (90, 20), (50, 10), (50, 30))] == [RED] * 4


LINE = [10, 50, 190, 50, 190, 90, 10, 90]


def written(picture):
    """Rows and columns of what is written on the page beside the picture, which is 200 pixels wide."""
    right = np.asarray(picture)[:, 208:].astype(int)
    return np.argwhere(right.max(axis=2) - right.min(axis=2) > 60)  # the outlines are gray


def test_text_stands_beside_the_picture_in_the_place_of_its_line(page):
    """As high as the line, at its left end, in its colour; nothing of it on the picture."""
    _, plain = drawn(page, {"quads": np.array([LINE], "float32"), "count": np.array(1)})
    answers = {"quads": np.array([LINE, [0] * 8], "float32"), "count": np.array(1)}
    _, picture = drawn(page, {**answers, "text": np.array([b"Text", b""], object)})
    assert picture.size == (408, 100)
    np.testing.assert_array_equal(np.asarray(picture)[:, :200], np.asarray(plain))
    rows, columns = written(picture).T
    assert 50 <= rows.min() < 60 and 70 < rows.max() <= 90 and 10 <= columns.min() < 20 and 60 < columns.max() < 130
    assert RED in [picture.getpixel((int(x) + 208, int(y))) for y, x in written(picture)]


def test_long_text_is_made_small_enough_for_its_line(page):
    """Accents and descenders stay within the line."""
    answers = {"quads": np.array([LINE], "float32"), "count": np.array(1)}
    _, picture = drawn(page, {**answers, "text": np.array(["Çgÿ ".encode() * 12], object)})
    rows, columns = written(picture).T
    assert rows.min() >= 50 and rows.max() <= 90 and columns.max() <= 191


def test_text_of_a_slanted_line_is_slanted(page):
    """The text rises to the right, within the line."""
    quads = np.array([[10, 60, 190, 20, 196, 48, 16, 88]], "float32")
    _, picture = drawn(page, {"quads": quads, "count": np.array(1), "text": np.array([b"xxxxxxxxxxxxxx"], object)})
    rows, columns = written(picture).T
    left, right = (rows[np.abs(columns - at) < 15].mean() for at in (40, 150))
    assert 15 < left - right < 35


@pytest.mark.parametrize("quad", [[0] * 8, [50, 50, 50, 50, 50, 90, 50, 90], [1e9, 0, 2e9, 0, 2e9, 1e9, 1e9, 1e9]])
def test_a_line_without_a_place_does_not_stop_the_drawing(page, quad):
    count, picture = drawn(page, {"quads": np.array([quad], "float32"), "text": np.array([b"Text"], object)})
    assert count == 1 and picture.size == (408, 100)


def test_what_is_no_picture_is_not_drawn_on(page):
    page.write_bytes(png(20, 10)[:40])
    with pytest.raises(Ckpt2SavedError, match="page.png cannot be shown: "):
        draw_page(page, {"quads": np.zeros([0, 8], "float32"), "count": np.array(0)}, page.parent / "drawn.png")
    assert not (page.parent / "drawn.png").exists()


def test_a_signature_without_boxes_has_nothing_to_draw():
    text = TensorSpec("text", "text:0", "string", ("batch",))
    with pytest.raises(UsageError, match="the signature text answers text; expected quads or boxes"):
        check_drawable(Signature("text", (), (text,)))
