"""Score and geometry maps as a trained EAST detector answers them, rendered from boxes of text."""

from __future__ import annotations

import numpy as np


def rendered(size, boxes, seed=0, noise=0.0, channels=5):
    """Return score [1, rows, columns, 1] and geometry [1, rows, columns, channels] of a page of `size` in cells.

    `boxes` are (centre x, centre y, width, height, angle), in pixels and radians. As in EAST's training, the cells in
    the box without 0.3 of its height at each side are text. Distances vary by `noise`, as a part of them.
    """
    rng = np.random.RandomState(seed)
    score = rng.uniform(0, 0.3, size)
    geometry = rng.uniform(0, 40, (*size, channels))
    y, x = np.mgrid[: size[0], : size[1]] * 4.0
    for centre_x, centre_y, width, height, angle in boxes:
        cosine, sine = np.cos(angle), np.sin(angle)
        along = (x - centre_x) * cosine - (y - centre_y) * sine
        down = (x - centre_x) * sine + (y - centre_y) * cosine
        margin = 0.3 * min(width, height)
        inside = (abs(along) < width / 2 - margin) & (abs(down) < height / 2 - margin)
        score[inside] = rng.uniform(0.75, 1.0, inside.sum())
        if channels == 5:
            values = [down + height / 2, width / 2 - along, height / 2 - down, along + width / 2]
            values = [value * (1 + noise * rng.randn(*size)) for value in values] + [np.full(size, angle)]
        else:
            quad = corners_of((centre_x, centre_y, width, height, angle)) + noise * height * rng.randn(*size, 4, 2)
            values = np.moveaxis((np.stack([x, y], -1)[:, :, None] - quad).reshape(*size, 8), 2, 0)
        geometry[inside] = np.stack(values, -1)[inside]
    return score[None, ..., None].astype("float32"), geometry[None].astype("float32")


def corners_of(box):
    """Return [4, 2], the corners of a box of `rendered`, clockwise from the top left."""
    centre_x, centre_y, width, height, angle = box
    along = np.array([-width, width, width, -width]) / 2
    down = np.array([-height, -height, height, height]) / 2
    return np.stack(
        [
            centre_x + along * np.cos(angle) + down * np.sin(angle),
            centre_y - along * np.sin(angle) + down * np.cos(angle),
        ],
        axis=1,
    )


def words(seed=0, angle=0.0):
    """Return the boxes of a page of 240 x 320 pixels: five lines of three words, rotated by about `angle`."""
    rng = np.random.RandomState(seed)
    return [
        (
            60 + 100 * column + rng.uniform(-5, 5),
            40 + 40 * line,
            rng.uniform(50, 80),
            24,
            angle + rng.uniform(-0.03, 0.03),
        )
        for line in range(5)
        for column in range(3)
    ]
