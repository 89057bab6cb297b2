"""Draw lines of text as pictures."""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Sequence

import cv2
import numpy
from pictures import width_at_height
from PIL import Image, ImageDraw, ImageFont

# The package that a face comes in, its folder there, and the files. Each has a glyph for every line of charset.txt.
FACES = tuple(
    (package, folder, name)
    for package, folder, names in (
        (
            "matplotlib",
            "mpl-data/fonts/ttf",
            "DejaVuSans DejaVuSans-Bold DejaVuSans-Oblique DejaVuSerif DejaVuSerif-Bold DejaVuSansMono"
            " DejaVuSansMono-Bold",
        ),
        ("font_roboto", "files", "Roboto-Regular Roboto-Light Roboto-Medium Roboto-Bold Roboto-Italic"),
        ("font_source_sans_pro", "files", "SourceSansPro-Regular SourceSansPro-Semibold SourceSansPro-Bold"),
        ("font_source_serif_pro", "files", "SourceSerifPro-Regular SourceSerifPro-Semibold SourceSerifPro-Bold"),
    )
    for name in names.split()
)
MAX_WIDTH = 400
MIN_WIDTH = 16


def render_line(text: str, random: numpy.random.RandomState, spacing: float = 0.0) -> numpy.ndarray:
    """Return `text` as uint8 [18 to 64, width, 3]. Face, size, place, colours, blur, noise and the marks that JPEG
    leaves are drawn from `random`. `spacing` is added between letters, as a multiple of the font size.
    """
    font_number, height = random.randint(len(FACES)), random.randint(18, 65)
    cover = _cover(text, face_font(font_number, round(height * random.uniform(0.64, 0.80))), height, spacing, random)
    if random.rand() < 0.3:
        cover = cv2.GaussianBlur(cover, (0, 0), random.uniform(0.3, 0.02 * height + 0.4))
    ink, paper = colours(random)
    shades = paper + (ink - paper) * numpy.linspace(0, 1, 256)[:, None]
    picture = cv2.LUT(cv2.merge([cover, cover, cover]), shades[None].round().astype("uint8"))
    chance = random.rand()
    if chance < 0.15:
        picture = _shaded(picture, random)
    elif chance < 0.35:
        strength = random.randint(2, 16)
        noise = random.randint(-strength, strength + 1, size=picture.shape[:2]).astype("int16")
        picture = (picture + noise[:, :, None]).clip(0, 255).astype("uint8")
    elif chance < 0.5:
        _, coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, random.randint(40, 95)])
        picture = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    return picture


def render_readable(text: str, random: numpy.random.RandomState) -> numpy.ndarray:
    """Return `text` as a picture that is neither too wide for the network, once brought to its height, nor too narrow
    for CTC, which needs a step for each symbol and one more between two that are equal.
    """
    needed = len(text) + sum(one == other for one, other in zip(text, text[1:]))
    spacing, widest = 0.0, MAX_WIDTH
    while True:
        picture = render_line(text, random, spacing)
        width = width_at_height(picture)
        if width < max(MIN_WIDTH, 4 * needed):
            spacing += 0.02
        elif width > widest:
            widest += 8
        else:
            return picture


def render_page(lines: Sequence[str], height: int, width: int) -> numpy.ndarray:
    """Return a white page of `lines` in black as uint8 [height, width, 3], each line in a face of its own."""
    page = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(page)
    for number, line in enumerate(lines):
        baseline = height * (number + 0.8) / len(lines)
        draw.text((12, baseline), line, fill="black", font=face_font(number % len(FACES), 17), anchor="ls")
    return numpy.asarray(page)


def _cover(
    text: str, font: ImageFont.FreeTypeFont, height: int, spacing: float, random: numpy.random.RandomState
) -> numpy.ndarray:
    """Return how much ink lies on each pixel, uint8 [height, width]: 0 none, 255 full."""
    left, right = random.uniform(0.05, 0.4, size=2) * height
    ascent, descent = 0.93 * font.size, 0.24 * font.size  # of accented capitals, and below the baseline
    baseline = random.uniform(*sorted((ascent, height - descent)))
    if random.rand() < 0.4:
        spacing += random.uniform(0.0, 0.15)
    if not spacing:  # as the font has it, with kerning
        mask = Image.new("L", (int(left + font.getlength(text) + right), height))
        ImageDraw.Draw(mask).text((left, baseline), text, fill=255, font=font, anchor="ls")
        return numpy.asarray(mask)
    advances = [font.getlength(symbol) + spacing * font.size for symbol in text]
    mask = Image.new("L", (int(left + sum(advances) + right), height))
    draw = ImageDraw.Draw(mask)
    for symbol, x in zip(text, left + numpy.cumsum([0.0] + advances)):
        draw.text((x, baseline), symbol, fill=255, font=font, anchor="ls")
    return numpy.asarray(mask)


def colours(random: numpy.random.RandomState) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return ink and paper: dark on light, or in one picture of four light on dark; in a third black and white."""
    if random.rand() < 0.33:
        dark, light = numpy.zeros(3), numpy.full(3, 255.0)
    else:
        spread = 0 if random.rand() < 0.4 else 60  # no colour, or some
        dark = random.randint(0, 80) + random.randint(0, spread + 1, size=3)
        light = random.randint(190, 256) - random.randint(0, spread + 1, size=3)
    return (light, dark) if random.rand() < 0.25 else (dark, light)


def _shaded(picture: numpy.ndarray, random: numpy.random.RandomState) -> numpy.ndarray:
    """Return the picture as under a lamp at one of its ends."""
    light = numpy.linspace(random.uniform(0.75, 1.0), random.uniform(0.75, 1.0), picture.shape[1])
    return (picture * light[None, :, None]).astype("uint8")


@lru_cache(maxsize=None)
def face_font(number: int, size: int) -> ImageFont.FreeTypeFont:
    # The simple layout does for these scripts, and is many times faster than the one for all scripts.
    package, folder, name = FACES[number]
    path = _package_folder(package) / folder / (name + ".ttf")
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=None)
def _package_folder(package: str) -> Path:
    """Return the folder of a package of fonts, without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"fonts are missing: pip install {package.replace('_', '-')}")
    return Path(spec.origin).parent
