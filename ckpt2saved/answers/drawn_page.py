"""Draw what a detector answers on its picture: boxes or the corners of lines, and their text if there is some."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any, List, Optional, Sequence, Tuple

import numpy as np

from ckpt2saved.console.drawing import Pen, open_rgb
from ckpt2saved.errors import Ckpt2SavedError, UsageError
from ckpt2saved.files.write_errors import writing
from ckpt2saved.requests.pictures import QUADS, TEXT, as_text
from ckpt2saved.requests.request import Answers
from ckpt2saved.signature.steps import COUNT
from ckpt2saved.signature.tensors import Signature

_BOXES = "boxes"  # an output
_Outline = Sequence[Tuple[float, float]]
_GAP = 8  # pixels
_BICUBIC = 3  # Image.BICUBIC, which Pillow's types lack
_PAPER, _RULE = "#ffffff", "#d8d8d8"
_COLOURS = ("#c62828", "#1565c0", "#2e7d32", "#8e24aa")  # in turn, so that neighbours can be told apart


def check_drawable(signature: Signature) -> None:
    """Raise UsageError for a signature that answers neither boxes nor lines."""
    keys = [spec.key for spec in signature.outputs]
    if not {QUADS, _BOXES} & set(keys):
        found = f"the signature {signature.name} answers {', '.join(keys)}"
        raise UsageError(
            f"--draw: {found}; expected {QUADS} or {_BOXES}, as of picture_lines of the ctpn, or page of the ocr"
        )


def draw_page(picture: Path, answers: Answers, file: Path, font: Optional[Path] = None) -> int:
    """Write a PNG file of the picture with its lines, or boxes; returns their number.

    If there is text, it stands beside the picture, where and as large as it is in the picture. Raises Ckpt2SavedError
    if Pillow cannot decode the picture, and WriteError.
    """
    from PIL import ImageDraw

    page, why_not = open_rgb(picture)
    if page is None:
        raise Ckpt2SavedError(f"--draw: {picture} cannot be shown: {why_not}")
    outlines = _outlines(answers)
    draw = ImageDraw.Draw(page)
    for outline, colour in zip(outlines, itertools.cycle(_COLOURS)):
        draw.line([*outline, outline[0]], fill=colour, width=_line_width(page))
    if TEXT in answers:
        texts = [as_text(text) for text in np.ravel(answers[TEXT]).tolist()]
        page = _beside(page, _written(page.size, outlines, texts, font))
    with writing(file):
        page.save(str(file), "PNG")
    return len(outlines)


def _written(size: Tuple[int, int], outlines: Sequence[_Outline], texts: Sequence[str], font: Optional[Path]) -> Any:
    """A white page of this size with the text of each line, turned as the line is."""
    from PIL import Image, ImageDraw

    page, pen = Image.new("RGB", size, _PAPER), Pen(font)
    draw = ImageDraw.Draw(page)
    for outline, text, colour in zip(outlines, texts, itertools.cycle(_COLOURS)):
        draw.line([*outline, outline[0]], fill=_RULE, width=_line_width(page))
        top_left, top_right, _, bottom_left = np.asarray(outline)
        along, down = top_right - top_left, bottom_left - top_left
        width, height = (min(float(np.hypot(*side)), 2 * max(size)) for side in (along, down))
        if not text or not width > 0 or not height > 0:
            continue
        written = pen.fitted(text, colour, width, height)
        middle = top_left + down / 2 + along / width * (written.width / 2)
        turned = written.rotate(-math.degrees(math.atan2(along[1], along[0])), _BICUBIC, expand=True)
        left, top = (round(float(at) - length / 2) for at, length in zip(middle, turned.size))
        page.paste(turned, (left, top), turned)
    return page


def _beside(left: Any, right: Any) -> Any:
    """Two pages as one picture."""
    from PIL import Image

    both = Image.new("RGB", (left.width + _GAP + right.width, left.height), _RULE)
    both.paste(left, (0, 0))
    both.paste(right, (left.width + _GAP, 0))
    return both


def _line_width(page: Any) -> int:
    return max(1, int(max(page.size)) // 500)


def _outlines(answers: Answers) -> List[_Outline]:
    """The corners of each line or box, in order."""
    found = np.asarray(answers[QUADS] if QUADS in answers else answers[_BOXES], np.float64)
    found = found[: int(answers[COUNT])] if COUNT in answers else found
    if QUADS not in answers:
        found = found.reshape(-1, 4)[:, [0, 1, 2, 1, 2, 3, 0, 3]]
    return [[(float(x), float(y)) for x, y in corners] for corners in found.reshape(-1, 4, 2)]
