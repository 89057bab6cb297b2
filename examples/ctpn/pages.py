"""Draw pages of text lines: up to three columns, several sizes, in part rotated, shaded, noisy, or without any text."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple, Optional

import cv2
import numpy
from PIL import Image, ImageDraw, ImageFont

sys.path.append(str(Path(__file__).resolve().parent.parent / "crnn"))  # last: both folders have a network.py

from render import FACES, colours, face_font
from texts import ACCENTED, CYRILLIC, LATIN, training_line

MAX_DEGREES = 5.0
SHORT_SIDE = (540, 641)  # pixels
SIZES = (13, 31)  # of fonts, in pixels
TITLE_SIZES = (20, 45)
ASCENT, DESCENT = 0.95, 0.27  # of a line above and below its baseline, as multiples of the font size
GUTTER = (68, 110)  # pixels between columns; the rules of CTPN join what is less than 50 + 16 apart
MARGIN = (18, 45)
SHORTEST = 44  # pixels; CTPN drops lines of 32 and less
LONGEST = 32  # characters, the most that the CRNN of the other example reads


UNSEEN_SEED = 3_000_001  # training draws with seeds of two numbers


class Line(NamedTuple):
    text: str
    quad: numpy.ndarray  # float32 [4, 2]: x, y of the corners, clockwise from the top left


class Page(NamedTuple):
    picture: numpy.ndarray  # uint8 [height, width, 3], RGB
    lines: list[Line]
    degrees: float  # by which the lines are rotated, clockwise


def unseen_pages(count: int = 50) -> list[Page]:
    """Return the pages of the examination, which nothing in training looks at."""
    random = numpy.random.RandomState(UNSEEN_SEED)
    return [draw_page(random) for _ in range(count)]


def draw_page(random: numpy.random.RandomState, degrees: Optional[float] = None, longest: int = LONGEST) -> Page:
    """Draw a page of lines of at most `longest` characters. Without `degrees` half of the pages are rotated."""
    if degrees is None:
        degrees = 0.0 if random.rand() < 0.5 else random.uniform(-MAX_DEGREES, MAX_DEGREES)
    short = random.randint(*SHORT_SIDE)
    height, width = short * random.uniform(1.0, 1.4), short
    if random.rand() < 0.25:
        height, width = width, height
    sheet = Sheet(int(height), int(width), degrees)
    chance = random.rand()
    if chance < 0.04:
        lines = []
    elif chance < 0.07:
        lines = []
        sheet.draw_figure(random, *sheet.text_area(random))
    else:
        lines = _write_columns(sheet, random, longest)
    cover, lines = _rotated(numpy.asarray(sheet.cover), lines, degrees)
    return Page(_coloured(cover, random), lines, degrees)


class Sheet:
    """How much ink lies on each pixel of a page: 0 none, 255 full."""

    def __init__(self, height: int, width: int, degrees: float) -> None:
        self.cover = Image.new("L", (width, height))
        self._draw = ImageDraw.Draw(self.cover)
        slope = abs(numpy.sin(numpy.radians(degrees)))
        self._room = (slope * height / 2, slope * width / 2)  # what rotation moves, across and down

    def text_area(self, random: numpy.random.RandomState) -> tuple[float, float, float, float]:
        """Return left, top, right and bottom of what a rotation leaves on the page, less a margin."""
        across, down = random.uniform(*MARGIN, size=2) + self._room
        return across, down, self.cover.width - across, self.cover.height - down

    def write(self, text: str, x: float, baseline: float, font: ImageFont.FreeTypeFont, ink: int) -> Line:
        """Write one line; its quad has the width of the ink, and the height that any line in this font would have."""
        self._draw.text((x, baseline), text, fill=ink, font=font, anchor="ls")
        left, _, right, _ = font.getbbox(text, anchor="ls")
        top, bottom = baseline - ASCENT * font.size, baseline + DESCENT * font.size
        corners = [(x + left, top), (x + right, top), (x + right, bottom), (x + left, bottom)]
        return Line(text, numpy.array(corners, "float32"))

    def draw_rule(self, random: numpy.random.RandomState, left: float, y: float, right: float) -> None:
        self._draw.line([(left, y), (right, y)], fill=random.randint(80, 256), width=random.randint(1, 4))

    def draw_frame(self, random: numpy.random.RandomState, *area: float) -> None:
        self._draw.rectangle(area, outline=random.randint(80, 256), width=random.randint(1, 3))

    def draw_figure(
        self, random: numpy.random.RandomState, left: float, top: float, right: float, bottom: float
    ) -> None:
        """Draw shades without edges, or shapes, where a picture would be."""
        width, height = int(right - left), int(bottom - top)
        if random.rand() < 0.5:
            coarse = random.randint(0, 256, size=random.randint(2, 12, size=2)).astype("uint8")
            figure = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        else:
            figure = numpy.full((height, width), random.randint(0, 120), "uint8")
            for _ in range(random.randint(2, 12)):
                centre = (random.randint(width), random.randint(height))
                axes = (random.randint(3, 8 + width // 4), random.randint(3, 8 + height // 4))
                shade, thickness = random.randint(256), random.choice([-1, 1, 2, 4])
                if random.rand() < 0.5:
                    cv2.ellipse(figure, centre, axes, random.randint(180), 0, 360, shade, thickness)
                else:
                    other = (centre[0] + axes[0], centre[1] + axes[1])
                    cv2.rectangle(figure, centre, other, shade, thickness)
        self.cover.paste(Image.fromarray(figure), (int(left), int(top)))


def _write_columns(sheet: Sheet, random: numpy.random.RandomState, longest: int) -> list[Line]:
    left, top, right, bottom = sheet.text_area(random)
    lines: list[Line] = []
    face = random.randint(len(FACES))
    if random.rand() < 0.35:  # a title
        font = face_font(face, random.randint(*TITLE_SIZES))
        text = _text(random, font, right - left, longest)
        if text:
            lines.append(sheet.write(text, left, top + ASCENT * font.size, font, _ink(random)))
            top += random.uniform(1.5, 2.5) * font.size
        if random.rand() < 0.3:
            sheet.draw_rule(random, left, top - 2, right)
            top += 10
    gutter = random.uniform(*GUTTER)
    most = min(3, int((right - left + gutter) // (gutter + 90)))
    columns = random.randint(1, most + 1)
    width = (right - left - (columns - 1) * gutter) / columns
    alignment = random.choice([0.0, 0.5, 1.0], p=[0.7, 0.15, 0.15])
    for column in range(columns):
        if random.rand() < 0.4:
            face = random.randint(len(FACES))
        at = left + column * (width + gutter)
        lines += _write_column(sheet, random, (at, top, at + width, bottom), (face, alignment, longest))
    return lines


def _write_column(sheet: Sheet, random: numpy.random.RandomState, area, style) -> list[Line]:
    left, top, right, bottom = area
    face, alignment, longest = style
    lines: list[Line] = []
    smallest, largest = SIZES
    size = random.randint(smallest, 24) if random.rand() < 0.8 else random.randint(smallest, largest)
    leading, ink, fullness = random.uniform(1.16, 2.0), _ink(random), random.uniform(0.2, 1.0)
    end = top + (bottom - top) * random.choice([1.0, random.uniform(0.2, 1.0)])
    if random.rand() < 0.12:
        sheet.draw_frame(random, left - 8, top - 6, right + 8, end + 8)
    while True:
        if random.rand() < 0.08:  # a new paragraph, at times in another size
            top += random.uniform(0.3, 1.5) * size
            if random.rand() < 0.5:
                size, ink = random.randint(smallest, largest), _ink(random)
            if random.rand() < 0.4 and lines:
                sheet.draw_rule(random, left, top, right)
                top += random.uniform(0.2, 0.6) * size
            figure = random.randint(40, 140)
            if random.rand() < 0.2 and top + figure + 10 < end:
                sheet.draw_figure(random, left, top, left + (right - left) * random.uniform(0.4, 1.0), top + figure)
                top += figure + random.uniform(0.4, 1.0) * size
        if top + (ASCENT + DESCENT) * size > end:
            return lines
        font = face_font(face, size)
        text = _text(random, font, (right - left) * random.uniform(fullness, 1.0), longest)
        if text:
            at = left + alignment * (right - left - font.getlength(text))
            lines.append(sheet.write(text, at, top + ASCENT * size, font, ink))
        top += leading * size


def _text(random: numpy.random.RandomState, font: ImageFont.FreeTypeFont, width: float, longest: int) -> str:
    """Return words of one script, at most `width` pixels and `longest` characters; none if no words fit."""
    text = ""
    for _ in range(12):
        more = training_line(random, frozenset())
        if _has_cyrillic(text + more) and _has_latin(text + more):
            continue
        for word in more.split(" "):
            longer = f"{text} {word}" if text else word
            if len(longer) <= longest and font.getlength(longer) <= width:
                text = longer
            elif font.getlength(text) >= SHORTEST:
                return text
    return text if font.getlength(text) >= SHORTEST else ""


def _has_cyrillic(text: str) -> bool:
    return any(symbol in CYRILLIC for symbol in text.lower())


def _has_latin(text: str) -> bool:
    return any(symbol in LATIN + ACCENTED for symbol in text.lower())


def _ink(random: numpy.random.RandomState) -> int:
    return 255 if random.rand() < 0.6 else random.randint(150, 256)


def _rotated(cover: numpy.ndarray, lines: list[Line], degrees: float) -> tuple[numpy.ndarray, list[Line]]:
    if not degrees:
        return cover, lines
    height, width = cover.shape
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -degrees, 1.0)
    quads = [numpy.float32(line.quad @ matrix[:, :2].T + matrix[:, 2]) for line in lines]
    cover = cv2.warpAffine(cover, matrix, (width, height), flags=cv2.INTER_LINEAR)
    return cover, [Line(line.text, quad) for line, quad in zip(lines, quads)]


def _coloured(cover: numpy.ndarray, random: numpy.random.RandomState) -> numpy.ndarray:
    """Return the page in colours, at times blurred, shaded, noisy, or with the marks that JPEG leaves."""
    if random.rand() < 0.25:
        cover = cv2.GaussianBlur(cover, (0, 0), random.uniform(0.3, 0.8))
    ink, paper = colours(random)
    shades = paper + (ink - paper) * numpy.linspace(0, 1, 256)[:, None]
    picture = cv2.LUT(cv2.merge([cover, cover, cover]), shades[None].round().astype("uint8"))
    if random.rand() < 0.3:  # as under a lamp at one of the corners
        light = cv2.resize(random.uniform(0.65, 1.0, size=(2, 2)), picture.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        picture = (picture * light[:, :, None]).astype("uint8")
    chance = random.rand()
    if chance < 0.3:
        strength = random.randint(2, 16)
        noise = random.randint(-strength, strength + 1, size=picture.shape[:2], dtype="int16")
        picture = (picture + noise[:, :, None]).clip(0, 255).astype("uint8")
    elif chance < 0.5:
        _, coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, random.randint(40, 95)])
        picture = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    return picture
