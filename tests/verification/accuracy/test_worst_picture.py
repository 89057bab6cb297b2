"""--worst: the lines that were read worst, as a picture."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from ckpt2saved.console.drawing import check_picture_file
from ckpt2saved.errors import UsageError
from ckpt2saved.verification.accuracy.figures import Reading, measure
from ckpt2saved.verification.accuracy.labels import Line
from ckpt2saved.verification.accuracy.worst_picture import draw_worst

RED = (198, 40, 40)


def drawn(folder, *cases, mode="L"):
    """The pixels of the picture for (reference, answer), or for (reference, Reading)."""
    lines, readings = [], []
    for number, (text, answer) in enumerate(cases, start=1):
        path = folder / f"{number}.png"
        Image.new(mode, (60, 20), 200).save(str(path))
        lines.append(Line(path.name, path, text, number))
        readings.append(answer if isinstance(answer, Reading) else Reading(answer))
    draw_worst(measure(lines, readings).worst, folder / "worst.png")
    with Image.open(str(folder / "worst.png")) as picture:
        return np.asarray(picture.convert("RGB"))


def red(pixels):
    return int((pixels == RED).all(-1).sum())


def test_wrong_characters_are_red(tmp_path):
    """The more of them, the more red; nothing of a line that is right."""
    one, two = red(drawn(tmp_path, ("mmmm", "mmmw"))), red(drawn(tmp_path, ("mmmm", "mmww")))
    assert 0 < one < two
    assert red(drawn(tmp_path, ("mmmm", "mmmm"))) == 0


def test_spaces_that_are_missing_or_added_can_be_seen(tmp_path):
    """They have no pixels of their own."""
    assert red(drawn(tmp_path, ("a b", "ab"))) > 0


def test_a_line_for_each_that_is_wrong(tmp_path):
    """One below the other, as high as their pictures."""
    heights = [drawn(tmp_path, *[("ab", "ax")] * count).shape[0] for count in (1, 2, 3)]
    assert heights[1] - heights[0] == heights[2] - heights[1] > 60


@pytest.mark.parametrize(
    "case",
    [
        ("字典", "字"),  # no glyph in DejaVu Sans
        ("שלום", "שלם"),  # right to left
        ("", "x"),
        ("x" * 500, ""),
        ("e\u0301", "e"),
        ("x", Reading("", 4, float("-inf"), "damaged")),
        ("a\u0007", "a"),
    ],
)
def test_any_text_can_be_drawn(tmp_path, case):
    """Also what the font lacks."""
    assert drawn(tmp_path, case).shape[1] == 900


@pytest.mark.parametrize("mode", ["1", "P", "RGB", "RGBA", "I;16"])
def test_pictures_of_every_mode(tmp_path, mode):
    """Each is converted to RGB."""
    assert drawn(tmp_path, ("a", "b"), mode=mode).shape[1] == 900


def test_a_picture_that_cannot_be_decoded_is_left_out(tmp_path):
    """Its texts are drawn all the same."""
    path = tmp_path / "1.png"
    for content in (b"", b"\x89PNG\r\n\x1a\n broken", b"text"):
        path.write_bytes(content)
        draw_worst(measure([Line("1.png", path, "a", 1)], [Reading("b")]).worst, tmp_path / "worst.png")
        with Image.open(str(tmp_path / "worst.png")) as picture:
            assert red(np.asarray(picture.convert("RGB"))) > 0


def test_the_file_is_a_png(tmp_path):
    """Said before the pictures are read."""
    check_picture_file(tmp_path / "worst.PNG", "--worst")
    with pytest.raises(UsageError, match="expected the name of a .png file"):
        check_picture_file(tmp_path / "worst.jpg", "--worst")
