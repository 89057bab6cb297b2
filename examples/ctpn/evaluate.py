"""Count the lines of unseen pages that a checkpoint finds: python evaluate.py CHECKPOINT_DIR [FOLDER_FOR_PICTURES]"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import NamedTuple, Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # must precede the import of TensorFlow
warnings.simplefilter("ignore")  # TensorFlow 1.x warns about the numpy of its own time

import cv2  # noqa: E402
import numpy  # noqa: E402
import tensorflow.compat.v1 as tf  # noqa: E402
from detector import Detector  # noqa: E402
from pages import unseen_pages  # noqa: E402

LEAST_OVERLAP = 0.5  # intersection over union of a line that counts as found
BLUE, RED = (0, 90, 255), (255, 0, 0)


class Count(NamedTuple):
    """Of a page."""

    is_rotated: bool
    true: int
    found: int  # lines that the detector gives
    right: int  # of these


def main() -> None:
    tf.logging.set_verbosity(tf.logging.ERROR)
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    detector = Detector(threads=2)
    detector.restore(tf.train.latest_checkpoint(sys.argv[1]))
    pages = unseen_pages()
    print(f"TensorFlow {tf.__version__}")
    for is_slanted in (True, False):
        counts = []
        for number, page in enumerate(pages):
            quads = detector.lines(page.picture, is_slanted).quads.reshape(-1, 4, 2)
            true = [line.quad for line in page.lines]
            counts.append(Count(bool(page.degrees), len(true), len(quads), right_lines(true, quads)))
            if folder is not None and is_slanted:
                _draw(page.picture, true, quads, folder / f"{number:02}.png")
        rotated = [count for count in counts if count.is_rotated]
        upright = [count for count in counts if not count.is_rotated]
        print("slanted lines" if is_slanted else "upright lines")
        _report("all pages", counts)
        _report("without rotation", upright)
        _report("rotated", rotated)


def right_lines(true: Sequence[numpy.ndarray], found: Sequence[numpy.ndarray]) -> int:
    """Return how many quads [4, 2] can be paired, the best pairs first, so that they overlap enough."""
    overlaps = numpy.array([[overlap(one, other) for other in found] for one in true]).reshape(len(true), len(found))
    right = 0
    while overlaps.size and overlaps.max() > LEAST_OVERLAP:
        one, other = numpy.unravel_index(overlaps.argmax(), overlaps.shape)
        overlaps[one], overlaps[:, other] = 0, 0
        right += 1
    return right


def overlap(one: numpy.ndarray, other: numpy.ndarray) -> float:
    """Return the intersection over the union of two quads."""
    if (one.min(0) > other.max(0)).any() or (other.min(0) > one.max(0)).any():
        return 0.0
    common, _ = cv2.intersectConvexConvex(numpy.float32(one), numpy.float32(other))
    return common / (cv2.contourArea(numpy.float32(one)) + cv2.contourArea(numpy.float32(other)) - common)


def _report(which: str, counts: Sequence[Count]) -> None:
    _, true, found, right = numpy.sum([tuple(count) for count in counts], axis=0)
    print(
        f"    {which}: {len(counts)} pages, {true} lines, {right / true:.2%} of them found,"
        f" {right / max(found, 1):.2%} of what was found is right"
    )


def _draw(picture: numpy.ndarray, true, found, path: Path) -> None:
    """Draw the true lines in blue and the found ones in red."""
    picture = picture.copy()
    for quads, colour in ((true, BLUE), (found, RED)):
        cv2.polylines(picture, [quad.round().astype("int32") for quad in quads], True, colour)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))


if __name__ == "__main__":
    main()
