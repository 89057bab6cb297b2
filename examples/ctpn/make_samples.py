"""Draw the sample pages: images/ and pages.json; or all pages that evaluate.py counts: make_samples.py [FOLDER]

The file pages.json has of each picture, and of each line, the text and the corners, clockwise from the top left.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy
from pages import ASCENT, Page, Sheet, draw_page, unseen_pages
from PIL import Image
from render import face_font

HERE = Path(__file__).resolve().parent
SAMPLES = (("columns.png", 38), ("rotated.png", 39), ("dark.png", 10), ("blank.png", 9))  # name, seed
RECEIPT = (  # size, text on the left, text on the right
    (30, "Café Zürich", ""),
    (18, "Quay 7, gate 17B", ""),
    (18, "Invoice no. 2047", "12.05.2026"),
    (20, "Two coffees", "7.40 €"),
    (20, "Apple cake, warm", "5.80 €"),
    (20, "Mineral water", "3.20 €"),
    (24, "Total", "16.40 €"),
    (16, "Thank you! Спасибо!", ""),
)


def main() -> None:
    if len(sys.argv) > 1:
        _write(Path(sys.argv[1]), {f"{number:02}.png": page for number, page in enumerate(unseen_pages())})
        return
    pages = {"receipt.png": receipt()}
    pages.update({name: draw_page(numpy.random.RandomState(seed)) for name, seed in SAMPLES})
    _write(HERE, pages)


def receipt() -> Page:
    """Return a page of black lines on white, with a column of prices."""
    sheet, lines, top = Sheet(640, 600, 0.0), [], 40.0
    for size, left, right in RECEIPT:
        font = face_font(size % 7, size)
        baseline = top + ASCENT * size
        lines.append(sheet.write(left, 60, baseline, font, 255))
        if right:
            lines.append(sheet.write(right, 540 - font.getlength(right), baseline, font, 255))
        top += 2.6 * size + 12
    return Page(255 - numpy.stack([numpy.asarray(sheet.cover)] * 3, axis=-1), lines, 0.0)


def _write(folder: Path, pages: dict[str, Page]) -> None:
    (folder / "images").mkdir(parents=True, exist_ok=True)
    labels = []
    for name, page in pages.items():
        Image.fromarray(page.picture).save(folder / "images" / name, optimize=True)
        lines = [
            {"text": line.text, "quad": [round(float(value), 1) for value in line.quad.ravel()]} for line in page.lines
        ]
        labels.append({"picture": f"images/{name}", "lines": lines})
    one_a_line = ",\n".join(json.dumps(label, ensure_ascii=False) for label in labels)
    (folder / "pages.json").write_text(f"[\n{one_a_line}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
