"""Pictures read and drawn with Pillow, and text on them."""

from __future__ import annotations

import importlib.util
import unicodedata
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ckpt2saved.console.foreign_text import one_line
from ckpt2saved.errors import Ckpt2SavedError, UsageError

TEXT_SIZE, SMALL_SIZE = 20, 14  # pixels
_LEAST_SIZE = 6  # of a font
_OF_HEIGHT = 0.8  # font size of a line's height, which leaves room for accents and descenders
_MOST_PIXELS = 100000000
_MOST_REASON = 80  # characters
_FONT = "DejaVuSans.ttf"
_NO_GLYPH = "\U0010ffff"  # no font has a glyph for it


class Part(NamedTuple):
    """A piece of text in one colour."""

    text: str
    colour: str


def check_picture_file(path: Path, option: str) -> None:
    """Raise UsageError if the name is not that of a PNG file, Ckpt2SavedError if Pillow is not installed."""
    if path.suffix.lower() != ".png":
        raise UsageError(f"{option} {path}: expected the name of a .png file")
    if importlib.util.find_spec("PIL") is None:
        text = f"{option} needs Pillow, and it is not in this Python: pip install 'ckpt2saved[evaluate]' installs it"
        raise Ckpt2SavedError(text)


def open_rgb(path: Path) -> Tuple[Any, str]:
    """Return the picture as RGB; None and the reason if it cannot be decoded."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(str(path)) as opened:
            if opened.width * opened.height > _MOST_PIXELS:
                return None, f"{opened.width} x {opened.height} pixels"
            if opened.mode.startswith("I"):  # 16 bits for each pixel
                opened = opened.convert("I").point(lambda value: value * (1 / 257)).convert("L")
            return opened.convert("RGB"), ""
    except UnidentifiedImageError:
        return None, "Pillow does not know its format"
    except Exception as error:  # Pillow raises many kinds for damaged files
        return None, one_line(str(error), _MOST_REASON) or type(error).__name__


class Pen:
    """Draws text in a font, and characters that it lacks as their codes."""

    def __init__(self, font: Optional[Path]) -> None:
        self._large, self._small = _fonts(font)
        self._missing = _drawn(self._large, _NO_GLYPH)
        self._sizes: Dict[int, Any] = {}

    def write(self, draw: Any, place: Tuple[int, int], parts: Sequence[Part], small: bool = False) -> None:
        """Draw pieces of text from the upper left corner `place`."""
        left, top = place
        font = self._small if small else self._large
        for part in parts:
            text = "".join(map(self._shown, part.text))
            draw.text((left, top), text, fill=part.colour, font=font)
            left += round(_length(font, text))

    def fitted(self, text: str, colour: str, width: float, height: float) -> Any:
        """A transparent picture of one line of text, as high as the place that it is for and at most as wide."""
        from PIL import Image, ImageDraw

        text = "".join(map(self._shown, text))
        size = max(_LEAST_SIZE, round(height * _OF_HEIGHT))
        needed = _length(self._of_size(size), text)
        if needed > width:
            size = max(_LEAST_SIZE, int(size * width / needed))
        font = self._of_size(size)
        rows = max(round(height), size + size // 4)
        drawn = Image.new("RGBA", (max(1, round(_length(font, text))), rows))
        ImageDraw.Draw(drawn).text((0, (rows - _height(font)) / 2), text, fill=colour, font=font)
        return drawn

    def _of_size(self, size: int) -> Any:
        if not hasattr(self._large, "font_variant"):
            return self._small  # a bitmap font has one size
        if size not in self._sizes:
            self._sizes[size] = self._large.font_variant(size=size)
        return self._sizes[size]

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


def _height(font: Any) -> int:
    """Pixels of a line of text."""
    return sum(font.getmetrics()) if hasattr(font, "getmetrics") else SMALL_SIZE


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
            large, small = (ImageFont.truetype(str(font), size) for size in (TEXT_SIZE, SMALL_SIZE))
            return large, small
        except OSError as error:
            raise UsageError(f"--font {font}: {error}; expected a TrueType or OpenType font") from error
    for found in _font_files():
        try:
            large, small = (ImageFont.truetype(found, size) for size in (TEXT_SIZE, SMALL_SIZE))
            return large, small
        except (OSError, ImportError):  # not there, or Pillow without FreeType
            continue
    try:
        return ImageFont.load_default(TEXT_SIZE), ImageFont.load_default(SMALL_SIZE)
    except TypeError:  # before Pillow 10.1
        plain = ImageFont.load_default()
        return plain, plain


def _font_files() -> List[str]:
    """Files of DejaVu Sans: the one of matplotlib, or by a name that Pillow looks for in the fonts of the system."""
    found = importlib.util.find_spec("matplotlib")
    folders = found.submodule_search_locations if found else None
    return [str(Path(folder) / "mpl-data" / "fonts" / "ttf" / _FONT) for folder in folders or ()] + [_FONT]
