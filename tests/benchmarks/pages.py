"""Measures the signature `page` beside its parts, and its memory, with the example networks on their example pages.

python -m tests.benchmarks.pages [--rounds N]

The parts are `picture_lines`, `cropped_lines` of the client, and the crnn's `dense` for all lines of a page in one batch: CPU time
of one process, in turns. Memory is the peak of a process of its own for each page: pages of one line with more and more pixels,
and pages of one size with more and more lines.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLES = ROOT / "examples"
PAGES = ("columns", "receipt", "rotated", "dark")
MOST_RATIO = 1.15
SIDES = (1000, 2000, 4000, 8000)  # pixels of square pages with one line
TILES = (1, 2, 3)  # how often the page with two columns stands beside and below itself
MOST_BYTES = 24  # of memory for a pixel of a page, beyond that of a small page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="how often everything is measured, in turns (5)")
    parser.add_argument("--page", nargs=2, metavar=("VERSION", "FILE"), help="print the peak of memory for one page")
    options = parser.parse_args()
    if options.page:
        print_peak(*options.page)
        return
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        failed = in_relation_to_parts(Path(folder), options.rounds)
        failed |= memory(Path(folder))
    sys.exit(1 if failed else 0)


def exported(folder: Path, model: str, *options: str) -> Path:
    """A version of a model with the example networks."""
    base = Path(tempfile.mkdtemp(dir=str(folder))) / model
    command = [sys.executable, "-m", "ckpt2saved", "export", "-q", "-m", model, "--no-parity", "--no-warmup"]
    command += ["--option", f"charset={EXAMPLES / 'crnn' / 'charset.txt'}", "-o", str(base), *options]
    subprocess.run(command, cwd=str(ROOT), check=True, stdout=subprocess.DEVNULL)
    return base / "1"


def ocr(folder: Path, *options: str) -> Path:
    networks = [
        "-c",
        f"detector={EXAMPLES / 'ctpn' / 'checkpoint'}",
        "-c",
        f"recogniser={EXAMPLES / 'crnn' / 'checkpoint'}",
    ]
    return exported(folder, "ocr", *networks, *options)


def in_relation_to_parts(folder: Path, rounds: int) -> bool:
    """Print a row for each page; whether a limit is exceeded."""
    from tests.support.saved_models import asking

    recogniser = exported(folder, "crnn", "-c", str(EXAMPLES / "crnn" / "checkpoint"))
    failed = False
    print(f"CPU time, median of {rounds} rounds | lines | parts, ms | page, ms | ratio (at most {MOST_RATIO})")
    with asking(ocr(folder)) as ask, asking(recogniser) as ask_recogniser:
        for name in PAGES:
            content = (EXAMPLES / "ctpn" / "images" / f"{name}.png").read_bytes()

            def by_parts(content=content):
                return parts(content, ask, ask_recogniser)

            def by_page(content=content):
                return ask("page", image_bytes=[content])

            times = {"parts": [], "page": []}
            for number in range(rounds + 1):
                for kind, call in (("parts", by_parts), ("page", by_page)):
                    start = time.process_time()
                    call()
                    if number:  # the first round also prepares the graph
                        times[kind].append((time.process_time() - start) * 1e3)
            separate, page = (statistics.median(times[kind]) for kind in ("parts", "page"))
            ratio = statistics.median(p / s for s, p in zip(times["parts"], times["page"]))
            lines = int(by_page()["count"][0])
            print(f"{name} | {lines} | {separate:.0f} | {page:.0f} | {ratio:.3f}", flush=True)
            failed |= ratio > MOST_RATIO
    return failed


def parts(content: bytes, ask, ask_recogniser):
    """The lines of a page as a client reads them with two models."""
    import cv2

    from ckpt2saved.client.line_crops import cropped_lines

    found = ask("picture_lines", image_bytes=[content])
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    crops = cropped_lines(pixels, found["quads"][0, : found["count"][0]])
    widths = [max(crop.shape[1], 4) for crop in crops]
    batch = np.zeros((len(crops), 32, max(widths), 3), np.float32)
    for row, crop in zip(batch, crops):
        row[:, : crop.shape[1]] = crop
    return ask_recogniser("dense", input_data=batch, input_batch_size=[width // 4 for width in widths])


def memory(folder: Path) -> bool:
    """Print a row for each page; whether the limit is exceeded."""
    import cv2

    columns = cv2.imread(str(EXAMPLES / "ctpn" / "images" / "columns.png"))
    print(f"page | pixels | lines | memory beyond that of the first page, MB (at most {MOST_BYTES} bytes for a pixel)")
    failed, first = False, None
    version = ocr(folder)
    for side in SIDES:
        page = np.full((side, side, 3), int(columns[0, 0, 0]), np.uint8)
        line = cv2.resize(columns[55:75], (side, side // 25))
        page[side // 3 : side // 3 + len(line)] = line
        found, peak = peak_of(folder, version, page)
        first = first or peak
        more = peak - first
        print(f"{side} x {side} | {page.size // 3 / 1e6:.1f} million | {found} | {more:.0f}", flush=True)
        failed |= more * 1e6 > MOST_BYTES * page.size // 3
    height, width = (max(TILES) * size for size in columns.shape[:2])
    version = ocr(
        folder, "--option", f"short_side={min(height, width)}", "--option", f"max_long_side={max(height, width)}"
    )
    first = None
    for count in TILES:
        page = np.full((height, width, 3), 160, np.uint8)
        tiled = np.tile(columns, (count, count, 1))
        page[: len(tiled), : tiled.shape[1]] = tiled
        found, peak = peak_of(folder, version, page)
        first = first or peak
        print(f"{width} x {height} | {page.size // 3 / 1e6:.1f} million | {found} | {peak - first:.0f}", flush=True)
        failed |= (peak - first) * 1e6 > MOST_BYTES * page.size // 3
    return failed


def peak_of(folder: Path, version: Path, page: np.ndarray):
    """Lines found on a page, and the peak of memory in MB, of a process of its own."""
    import cv2

    file = folder / "page.png"
    cv2.imwrite(str(file), page)
    command = [sys.executable, "-m", "tests.benchmarks.pages", "--page", str(version), str(file)]
    done = subprocess.run(command, cwd=str(ROOT), check=True, stdout=subprocess.PIPE)
    lines, peak = done.stdout.split()
    return int(lines), float(peak)


def print_peak(version: str, file: str) -> None:
    from tests.support.saved_models import asking

    with asking(Path(version)) as ask:
        found = ask("page", image_bytes=[Path(file).read_bytes()])
    print(int(found["count"][0]), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)


if __name__ == "__main__":
    main()
