"""Lines cut out of a picture of a page and turned upright, with NumPy alone.

For clients that send the lines of a detector to a recogniser themselves, as the signature `page` of `--model ocr` does
inside of the graph:

    found = detector.predict("picture_lines", {"image_bytes": [content]})
    lines = cropped_lines(pixels, found["quads"][0, : found["count"][0]])
"""

from __future__ import annotations

from typing import Any, List, Sequence

import numpy as np

from ckpt2saved.signature.detection import MOST_POINTS


def cropped_lines(pixels: Any, quads: Any, height: int = 32, max_width: int = 2048) -> List[np.ndarray]:
    """Return each of the lines `quads` as uint8 [height, width, channels].

    `pixels` is uint8 [rows, columns, channels]; `quads` [lines, 8] are x and y of the corners in pixels, clockwise from
    the top left; the first pixel extends from 0 to 1. The width follows from the aspect ratio. Pixels are interpolated
    between the nearest four, and repeat beyond the picture. Where a line is higher than `height`, the mean of k x k
    points is taken, k being how many times it is, up to 4. Raises ValueError for other shapes.
    """
    pixels, quads = np.asarray(pixels), np.asarray(quads, np.float32)
    if pixels.ndim != 3 or pixels.dtype != np.uint8 or 0 in pixels.shape:
        raise ValueError(f"pixels: {pixels.dtype} {pixels.shape}, expected uint8 [rows, columns, channels]")
    if quads.ndim != 2 or quads.shape[1] != 8:
        raise ValueError(f"quads: shape {quads.shape}, expected [lines, 8]")
    return [_cropped(pixels, quad.reshape(4, 2), height, max_width) for quad in quads]


def _cropped(pixels: np.ndarray, corners: np.ndarray, height: int, max_width: int) -> np.ndarray:
    sides = np.sqrt(np.sum((np.roll(corners, -1, axis=0) - corners) ** 2, axis=1))
    across, down = (sides[0] + sides[2]) / 2, max((sides[1] + sides[3]) / 2, np.float32(1))
    width = int(np.clip(np.floor(across * height / down + np.float32(0.5)), 1, max_width))
    count = int(np.clip(np.floor(down / height + np.float32(0.5)), 1, MOST_POINTS))
    x, y = _points(corners, width * count, height * count)
    found = _interpolated(pixels, x, y).reshape(height, count, width, count, pixels.shape[2])
    made: np.ndarray = np.floor(found.mean(axis=(1, 3)) + np.float32(0.5)).astype(np.uint8)
    return made


def _points(corners: np.ndarray, columns: int, rows: int) -> Sequence[np.ndarray]:
    """Return x and y of points evenly between the sides of a quad, float32 [rows, columns] each."""
    right = ((np.arange(columns, dtype=np.float32) + 0.5) / np.float32(columns))[None, :]
    down = ((np.arange(rows, dtype=np.float32) + 0.5) / np.float32(rows))[:, None]
    top_left, top_right, bottom_right, bottom_left = corners
    return [
        (top_left[axis] * (1 - right) + top_right[axis] * right) * (1 - down)
        + (bottom_left[axis] * (1 - right) + bottom_right[axis] * right) * down
        for axis in (0, 1)
    ]


def _interpolated(pixels: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the picture at points, float32 [rows, columns, channels]."""
    x = np.clip(x - np.float32(0.5), 0, pixels.shape[1] - 1)
    y = np.clip(y - np.float32(0.5), 0, pixels.shape[0] - 1)
    left, above = x.astype(int), y.astype(int)
    right, below = np.minimum(left + 1, pixels.shape[1] - 1), np.minimum(above + 1, pixels.shape[0] - 1)
    across, down = (x - left)[..., None].astype(np.float32), (y - above)[..., None].astype(np.float32)
    top = pixels[above, left] * (1 - across) + pixels[above, right] * across
    bottom = pixels[below, left] * (1 - across) + pixels[below, right] * across
    found: np.ndarray = top * (1 - down) + bottom * down
    return found
