"""Draw what a detector answers on its picture: boxes or the corners of lines, and their text if there is some."""

from __future__ import annotations

from pathlib import Path
from typing import List, Optional, Sequence, Tuple

import numpy as np

from ckpt2saved.console.drawing import Part, Pen, open_rgb
from ckpt2saved.errors import Ckpt2SavedError, UsageError
from ckpt2saved.files.write_errors import writing
from ckpt2saved.requests.request import Answers
from ckpt2saved.signature.steps import COUNT
from ckpt2saved.signature.tensors import Signature

_QUADS, _BOXES, _TEXT = "quads", "boxes", "text"  # outputs
_COLOURS = ("#c62828", "#1565c0", "#2e7d32", "#8e24aa")  # in turn, so that neighbours can be told apart


def check_drawable(signature: Signature) -> None:
    """Raise UsageError for a signature that answers neither boxes nor lines."""
    keys = [spec.key for spec in signature.outputs]
    if not {_QUADS, _BOXES} & set(keys):
        found = f"the signature {signature.name} answers {', '.join(keys)}"
        raise UsageError(f"--draw: {found}; expected {_QUADS} or {_BOXES}, as of picture_lines of the ctpn")


def draw_page(picture: Path, answers: Answers, file: Path, font: Optional[Path] = None) -> int:
    """Write a PNG file of the picture with its lines, or boxes; returns their number.

    Raises Ckpt2SavedError if Pillow cannot decode the picture, and WriteError.
    """
    from PIL import ImageDraw

    page, why_not = open_rgb(picture)
    if page is None:
        raise Ckpt2SavedError(f"--draw: {picture} cannot be shown: {why_not}")
    pen, draw = Pen(font), ImageDraw.Draw(page)
    outlines = _outlines(answers)
    texts = [value.decode("utf-8", "replace") for value in np.atleast_1d(answers.get(_TEXT, np.array([], object)))]
    for number, outline in enumerate(outlines):
        colour = _COLOURS[number % len(_COLOURS)]
        draw.line([*outline, outline[0]], fill=colour, width=max(1, max(page.size) // 500))
        if number < len(texts):
            left, top = min(x for x, _ in outline), min(y for _, y in outline)
            pen.write(draw, (round(left), max(0, round(top) - 18)), [Part(texts[number], colour)], small=True)
    with writing(file):
        page.save(str(file), "PNG")
    return len(outlines)


def _outlines(answers: Answers) -> List[Sequence[Tuple[float, float]]]:
    """The corners of each line or box, in order."""
    found = np.asarray(answers[_QUADS] if _QUADS in answers else answers[_BOXES], np.float64)
    found = found[: int(answers[COUNT])] if COUNT in answers else found
    if _QUADS not in answers:
        found = found.reshape(-1, 4)[:, [0, 1, 2, 1, 2, 3, 0, 3]]
    return [[(float(x), float(y)) for x, y in corners] for corners in found.reshape(-1, 4, 2)]
