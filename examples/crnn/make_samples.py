"""Draw the pictures of the examples: images/, lines.tsv, unseen/, unseen.tsv and ../ctpn/page.png."""

from __future__ import annotations

import io
from pathlib import Path

import numpy
from PIL import Image
from render import render_page, render_readable
from texts import unseen_lines

HERE = Path(__file__).resolve().parent
SAMPLES = (
    ("quay.png", "Quay 7, gate 17B"),
    ("route66.png", "Route 66"),
    ("zurich.png", "Zürich, Größe 42"),
    ("gare.jpg", "Où est la gare?"),
    ("senor.png", "Señor Núñez"),
    ("privet.png", "Привет, мир!"),
    ("moskva.jpg", "Москва, 1959"),
    ("total.png", "Total: 17,50 €"),
)
SAMPLE_SEED = 2_000_001
UNSEEN_SEED = 2_000_002
LARGEST_PNG = 5000  # bytes; what takes more, as noise does, is kept as JPEG
PAGE = ("Invoice no. 2047", "two coffees 7.40", "balloon, red 1.15", "gate 17b, hall 3", "thank you!")


def main() -> None:
    write_samples()
    write_unseen()
    Image.fromarray(render_page(PAGE, height=160, width=224)).save(HERE.parent / "ctpn" / "page.png")


def write_samples() -> None:
    """Write the sample lines in colour, but for the second and sixth, which are gray."""
    (HERE / "images").mkdir(exist_ok=True)
    random = numpy.random.RandomState(SAMPLE_SEED)
    for number, (name, text) in enumerate(SAMPLES):
        picture = Image.fromarray(render_readable(text, random))
        (picture.convert("L") if number in (1, 5) else picture).save(HERE / "images" / name)
    _write_labels("lines.tsv", [(f"images/{name}", text) for name, text in SAMPLES])


def write_unseen() -> None:
    """Write the final examination: all its lines, whether or not the network reads them."""
    (HERE / "unseen").mkdir(exist_ok=True)
    random = numpy.random.RandomState(UNSEEN_SEED)
    labels = []
    for number, text in enumerate(unseen_lines()):
        picture = Image.fromarray(render_readable(text, random))
        content = _encoded(picture, "png", optimize=True)
        form = "png" if len(content) <= LARGEST_PNG else "jpg"
        name = f"unseen/{number:03}.{form}"
        (HERE / name).write_bytes(content if form == "png" else _encoded(picture, "jpeg", quality=85))
        labels.append((name, text))
    _write_labels("unseen.tsv", labels)


def _encoded(picture: Image.Image, form: str, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def _write_labels(name: str, labels) -> None:
    (HERE / name).write_text("".join(f"{path}\t{text}\n" for path, text in labels), encoding="utf-8")


if __name__ == "__main__":
    main()
