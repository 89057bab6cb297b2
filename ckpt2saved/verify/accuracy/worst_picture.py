"""Draw the lines that were read worst: each picture with its reference and the answer beneath."""

from __future__ import annotations

import importlib.util
import unicodedata
from pathlib import Path
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

from ckpt2saved.console.foreign_text import one_line
from ckpt2saved.errors import Ckpt2SavedError, UsageError
from ckpt2saved.files.write_errors import writing
from ckpt2saved.verify.accuracy.figures import LineResult
from ckpt2saved.verify.accuracy.gate import counted, percent

_WIDTH, _MARGIN, _LABEL = 900, 12, 90  # pixels
_MOST_HEIGHT = 96  # of a picture; lines are smaller as a rule
_TEXT_SIZE, _SMALL_SIZE = 20, 14
_GAP = 6
_MOST_PIXELS = 100000000
_MOST_TEXT, _MOST_REASON = 200, 80  # characters
_BLACK, _GRAY, _RED, _PAPER, _RULE = "#1a1a1a", "#6e6e6e", "#c62828", "#ffffff", "#d8d8d8"
_FONT = "DejaVuSans.ttf"
_NO_GLYPH = "\U0010ffff"  # no font has a glyph for it
_NOTHING, _SPACE = "(nothing)", "\u2423"


class _Part(NamedTuple):
    text: str
    colour: str


class _Block(NamedTuple):
    """One line of text, and what is drawn of it."""

    picture: Any  # PIL.Image of the picture, or None
    title: str
    reference: List[_Part]
    answer: List[_Part]


def check_picture_file(path: Path) -> None:
    """Raise UsageError if the name is not that of a PNG file, Ckpt2SavedError if Pillow is not installed."""
    if path.suffix.lower() != ".png":
        raise UsageError(f"--worst {path}: expected the name of a .png file")
    if importlib.util.find_spec("PIL") is None:
        text = "--worst needs Pillow, and it is not in this Python: pip install 'ckpt2saved[evaluate]' installs it"
        raise Ckpt2SavedError(text)


def draw_worst(worst: Sequence[LineResult], file: Path, font: Optional[Path] = None) -> None:
    """Write a PNG file with these lines; wrong characters are red. Raises WriteError.

    Text is drawn in `font`, else in DejaVu Sans if matplotlib or the system has it, else in the font of Pillow, which
    has few characters. A character without a glyph is drawn as its code, as in U+5B57.
    """
    from PIL import Image, ImageDraw

    pen = _Pen(font)
    blocks = [_block(one) for one in worst]
    heights = [_height(block) for block in blocks]
    image = Image.new("RGB", (_WIDTH, max(sum(heights), 1) + 2 * _MARGIN), _PAPER)
    draw = ImageDraw.Draw(image)
    top = _MARGIN
    if not blocks:
        image = Image.new("RGB", (_WIDTH, _TEXT_SIZE + 3 * _MARGIN), _PAPER)
        pen.write(ImageDraw.Draw(image), (_MARGIN, _MARGIN), [_Part("every line is exact", _BLACK)])
    for block, height in zip(blocks, heights):
        _draw_block(image, draw, pen, block, top)
        top += height
    with writing(file):
        image.save(str(file), "PNG")


def _height(block: _Block) -> int:
    picture = block.picture.height if block.picture is not None else 0
    return _SMALL_SIZE + picture + 2 * (_TEXT_SIZE + 4) + 5 * _GAP


def _draw_block(image: Any, draw: Any, pen: _Pen, block: _Block, top: int) -> None:
    pen.write(draw, (_MARGIN, top), [_Part(block.title, _GRAY)], small=True)
    top += _SMALL_SIZE + _GAP
    if block.picture is not None:
        image.paste(block.picture, (_MARGIN, top))
        right, bottom = _MARGIN + block.picture.width, top + block.picture.height
        draw.rectangle((_MARGIN - 1, top - 1, right, bottom), outline=_RULE)
        top = bottom + _GAP
    for label, parts in (("reference", block.reference), ("read as", block.answer)):
        pen.write(draw, (_MARGIN, top + 4), [_Part(label, _GRAY)], small=True)
        pen.write(draw, (_MARGIN + _LABEL, top), parts)
        top += _TEXT_SIZE + 4
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
    """The picture as RGB, at most as large as its place; None and the reason if it cannot be decoded."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(str(path)) as opened:
            if opened.width * opened.height > _MOST_PIXELS:
                return None, f"{opened.width} x {opened.height} pixels"
            if opened.mode.startswith("I"):  # 16 bits for each pixel
                opened = opened.convert("I").point(lambda value: value * (1 / 257)).convert("L")
            picture = opened.convert("RGB")
    except UnidentifiedImageError:
        return None, "Pillow does not know its format"
    except Exception as error:  # Pillow raises many kinds for damaged files
        return None, one_line(str(error), _MOST_REASON) or type(error).__name__
    scale = min((_WIDTH - 2 * _MARGIN) / picture.width, _MOST_HEIGHT / picture.height, 2.0)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return picture.resize(size), ""


def _parts(reference: str, answer: str) -> Tuple[List[_Part], List[_Part]]:
    """Both texts in pieces: black where they are equal, red where they differ, with spaces that can be seen."""
    from rapidfuzz.distance import Levenshtein

    if _is_right_to_left(reference + answer):  # pieces would be drawn in the wrong order
        return [_Part(reference or _NOTHING, _BLACK)], [_Part(answer or _NOTHING, _RED)]
    ours, theirs = [], []
    for step in Levenshtein.opcodes(reference, answer):
        colour = _BLACK if step.tag == "equal" else _RED
        pieces = [reference[step.src_start : step.src_end], answer[step.dest_start : step.dest_end]]
        if step.tag != "equal":
            pieces = [piece.replace(" ", _SPACE) for piece in pieces]
        ours.append(_Part(pieces[0], colour))
        theirs.append(_Part(pieces[1], colour))
    return ours if reference else [_Part(_NOTHING, _GRAY)], theirs if answer else [_Part(_NOTHING, _GRAY)]


def _is_right_to_left(text: str) -> bool:
    return any(unicodedata.bidirectional(character) in ("R", "AL") for character in text)


class _Pen:
    """Draws text in a font, and characters that it lacks as their codes."""

    def __init__(self, font: Optional[Path]) -> None:
        self._large, self._small = _fonts(font)
        self._missing = _drawn(self._large, _NO_GLYPH)

    def write(self, draw: Any, place: Tuple[int, int], parts: Sequence[_Part], small: bool = False) -> None:
        """Draw pieces of text from the upper left corner `place`."""
        left, top = place
        font = self._small if small else self._large
        for part in parts:
            text = "".join(map(self._shown, part.text))
            draw.text((left, top), text, fill=part.colour, font=font)
            left += round(_length(font, text))

    def _shown(self, character: str) -> str:
        if character == " " or unicodedata.combining(character):
            return character
        if not character.isprintable() or _drawn(self._large, character) in (None, self._missing):
            return f"[U+{ord(character):04X}]"
        return character


def _length(font: Any, text: str) -> float:
    if hasattr(font, "getlength"):
        return float(font.getlength(text))
    return float(font.getsize(text)[0])  # bitmap fonts before Pillow 9.2


def _drawn(font: Any, character: str) -> Optional[Tuple[Tuple[int, int], bytes]]:
    """Size and pixels of a character; None if the font cannot draw it."""
    try:
        mask = font.getmask(character)
        return mask.size, bytes(mask)
    except (UnicodeEncodeError, OSError):  # a bitmap font has Latin-1 alone
        return None


def _fonts(font: Optional[Path]) -> Tuple[Any, Any]:
    from PIL import ImageFont

    if font is not None:
        try:
            large, small = (ImageFont.truetype(str(font), size) for size in (_TEXT_SIZE, _SMALL_SIZE))
            return large, small
        except OSError as error:
            raise UsageError(f"--font {font}: {error}; expected a TrueType or OpenType font") from error
    for found in _font_files():
        try:
            large, small = (ImageFont.truetype(found, size) for size in (_TEXT_SIZE, _SMALL_SIZE))
            return large, small
        except (OSError, ImportError):  # not there, or Pillow without FreeType
            continue
    try:
        return ImageFont.load_default(_TEXT_SIZE), ImageFont.load_default(_SMALL_SIZE)
    except TypeError:  # before Pillow 10.1
        plain = ImageFont.load_default()
        return plain, plain


def _font_files() -> List[str]:
    """Files of DejaVu Sans: the one of matplotlib, or by a name that Pillow looks for in the fonts of the system."""
    found = importlib.util.find_spec("matplotlib")
    folders = found.submodule_search_locations if found else None
    return [str(Path(folder) / "mpl-data" / "fonts" / "ttf" / _FONT) for folder in folders or ()] + [_FONT]
