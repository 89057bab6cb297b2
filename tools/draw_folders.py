"""Draws docs/development/folders.svg, the folders of the package in layers, from the table in architecture.md.

python tools/draw_folders.py
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from typing import Dict, List

DOCS = Path(__file__).resolve().parent.parent / "docs" / "development"
PICTURE = DOCS / "folders.svg"
# From above to below, as in the table. What is in no layer is drawn in the last one.
LAYERS = {
    "what users call": "cli hooks",
    "whole tasks": "exporting verification inspection",
    "requests and servers": "answers client server_config requests",
    "sources and rewrites": "sources rewrites compatibility",
    "TensorFlow's files": "versions saved_model checkpoint",
    "graphs": "ctc graph",
    "for all": "signature console files errors",
}
COLOURS = {"yes": "#f9d9a8", "mixed": "#f9d9a8", "no": "#d5e3f7"}
WIDTH, HEIGHT, GAP, LABEL = 130, 38, 12, 175  # of a box, between boxes, and of the names of the layers


def folders() -> Dict[str, str]:
    """Return each folder of the table, and whether it needs TensorFlow."""
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    return dict(re.findall(r"(?m)^\| `(\w+)\S*` \| .* \| (\w+) \|$", text))


def drawn() -> str:
    """Return the picture as SVG."""
    needs = folders()
    layers = {name: [one for one in names.split() if one in needs] for name, names in LAYERS.items()}
    known = {one for names in layers.values() for one in names}
    layers["for all"] += [one for one in needs if one not in known]
    widest = max(len(names) for names in layers.values())
    width = LABEL + widest * (WIDTH + GAP) + GAP
    height = len(layers) * (HEIGHT + 2 * GAP) + 34
    parts: List[str] = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        ' font-family="system-ui,sans-serif" font-size="14">',
        f'<rect width="{width}" height="{height}" rx="8" fill="#ffffff"/>',
    ]
    for row, (layer, names) in enumerate(layers.items()):
        y = GAP + row * (HEIGHT + 2 * GAP)
        parts.append(f'<text x="{GAP}" y="{y + 24}" fill="#57606a">{escape(layer)}</text>')
        for column, name in enumerate(names):
            x = LABEL + column * (WIDTH + GAP)
            parts.append(
                f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="5" fill="{COLOURS[needs[name]]}"'
                ' stroke="#8c959f"/>'
            )
            parts.append(
                f'<text x="{x + WIDTH // 2}" y="{y + 24}" text-anchor="middle" fill="#1f2328">{escape(name)}</text>'
            )
        if row:
            parts.append(f'<path d="M {LABEL - 22} {y - 17} v 10 m -4 -4 l 4 4 l 4 -4" stroke="#57606a" fill="none"/>')
    note = "An arrow: imports point down. Blue: no TensorFlow when imported. Orange: some modules need it."
    parts += [f'<text x="{GAP}" y="{height - 14}" fill="#57606a" font-size="13">{note}</text>', "</svg>", ""]
    return "\n".join(parts)


if __name__ == "__main__":
    PICTURE.write_text(drawn(), encoding="utf-8")
