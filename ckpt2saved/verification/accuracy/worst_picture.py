"""Draw the lines that were read worst: each picture with its reference and the answer beneath."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

from ckpt2saved.console.drawing import SMALL_SIZE, TEXT_SIZE, Part, Pen, open_rgb
from ckpt2saved.console.foreign_text import one_line
from ckpt2saved.files.write_errors import writing
from ckpt2saved.verification.accuracy.figures import LineResult
from ckpt2saved.verification.accuracy.gate import counted, percent

_WIDTH, _MARGIN, _LABEL = 900, 12, 90  # pixels
_MOST_HEIGHT = 96  # of a picture; lines are smaller as a rule
_GAP = 6
_MOST_TEXT, _MOST_REASON = 200, 80  # characters
_BLACK, _GRAY, _RED, _PAPER, _RULE = "#1a1a1a", "#6e6e6e", "#c62828", "#ffffff", "#d8d8d8"
_NOTHING, _SPACE = "(nothing)", "\u2423"


class _Block(NamedTuple):
    """One line of text, and what is drawn of it."""

    picture: Any  # PIL.Image of the picture, or None
    title: str
    reference: List[Part]
    answer: List[Part]


def draw_worst(worst: Sequence[LineResult], file: Path, font: Optional[Path] = None) -> None:
    """Write a PNG file with these lines; wrong characters are red. Raises WriteError.

    Text is drawn in `font`, else in DejaVu Sans if matplotlib or the system has it, else in the font of Pillow, which
    has few characters. A character without a glyph is drawn as its code, as in U+5B57.
    """
    from PIL import Image, ImageDraw

    pen = Pen(font)
    blocks = [_block(one) for one in worst]
    heights = [_height(block) for block in blocks]
    image = Image.new("RGB", (_WIDTH, max(sum(heights), 1) + 2 * _MARGIN), _PAPER)
    draw = ImageDraw.Draw(image)
    top = _MARGIN
    if not blocks:
        image = Image.new("RGB", (_WIDTH, TEXT_SIZE + 3 * _MARGIN), _PAPER)
        pen.write(ImageDraw.Draw(image), (_MARGIN, _MARGIN), [Part("every line is exact", _BLACK)])
    for block, height in zip(blocks, heights):
        _draw_block(image, draw, pen, block, top)
        top += height
    with writing(file):
        image.save(str(file), "PNG")


def _height(block: _Block) -> int:
    picture = block.picture.height if block.picture is not None else 0
    return SMALL_SIZE + picture + 2 * (TEXT_SIZE + 4) + 5 * _GAP


def _draw_block(image: Any, draw: Any, pen: Pen, block: _Block, top: int) -> None:
    pen.write(draw, (_MARGIN, top), [Part(block.title, _GRAY)], small=True)
    top += SMALL_SIZE + _GAP
    if block.picture is not None:
        image.paste(block.picture, (_MARGIN, top))
        right, bottom = _MARGIN + block.picture.width, top + block.picture.height
        draw.rectangle((_MARGIN - 1, top - 1, right, bottom), outline=_RULE)
        top = bottom + _GAP
    for label, parts in (("reference", block.reference), ("read as", block.answer)):
        pen.write(draw, (_MARGIN, top + 4), [Part(label, _GRAY)], small=True)
        pen.write(draw, (_MARGIN + _LABEL, top), parts)
        top += TEXT_SIZE + 4
    draw.line((_MARGIN, top + _GAP, _WIDTH - _MARGIN, top + _GAP), fill=_RULE)


def _block(result: LineResult) -> _Block:
    picture, why_not = _picture(result.line.path)
    title = f"{result.line.picture}   {counted(result.edits, 'error')}, {percent(result.cer)}"
    if not result.reading.is_read:
        title += f"   not read: {one_line(result.reading.reason, _MOST_REASON)}"
    if why_not:
        title += f"   cannot be shown: {why_not}"
    reference, answer = _parts(result.reference[:_MOST_TEXT], result.answer[:_MOST_TEXT])
    return _Block(picture, title, reference, answer)


def _picture(path: Path) -> Tuple[Any, str]:
    """The picture, at most as large as its place; None and the reason if it cannot be decoded."""
    picture, why_not = open_rgb(path)
    if picture is None:
        return None, why_not
    scale = min((_WIDTH - 2 * _MARGIN) / picture.width, _MOST_HEIGHT / picture.height, 2.0)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return picture.resize(size), ""


def _parts(reference: str, answer: str) -> Tuple[List[Part], List[Part]]:
    """Both texts in pieces: black where they are equal, red where they differ, with spaces that can be seen."""
    from rapidfuzz.distance import Levenshtein

    if _is_right_to_left(reference + answer):  # pieces would be drawn in the wrong order
        return [Part(reference or _NOTHING, _BLACK)], [Part(answer or _NOTHING, _RED)]
    ours, theirs = [], []
    for step in Levenshtein.opcodes(reference, answer):
        colour = _BLACK if step.tag == "equal" else _RED
        pieces = [reference[step.src_start : step.src_end], answer[step.dest_start : step.dest_end]]
        if step.tag != "equal":
            pieces = [piece.replace(" ", _SPACE) for piece in pieces]
        ours.append(Part(pieces[0], colour))
        theirs.append(Part(pieces[1], colour))
    return ours if reference else [Part(_NOTHING, _GRAY)], theirs if answer else [Part(_NOTHING, _GRAY)]


def _is_right_to_left(text: str) -> bool:
    return any(unicodedata.bidirectional(character) in ("R", "AL") for character in text)
