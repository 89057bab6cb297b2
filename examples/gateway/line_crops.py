"""Stand-in for ckpt2saved.client.line_crops."""

from __future__ import annotations

from typing import List

import numpy as np
from PIL import Image


def cropped_lines(picture: np.ndarray, quads: np.ndarray) -> List[np.ndarray]:
    image = Image.fromarray(picture)
    found = []
    for quad in quads:
        corners = quad.reshape(4, 2)
        width = np.hypot(*(corners[1] - corners[0])) * 32 / max(np.hypot(*(corners[3] - corners[0])), 1)
        size = (int(min(max(round(float(width)), 1), 2048)), 32)
        data = [float(value) for value in corners[[0, 3, 2, 1]].ravel()]
        found.append(np.asarray(image.transform(size, Image.QUAD, data, Image.BILINEAR), np.float32))
    return found
