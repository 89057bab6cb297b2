"""Pictures of lines that compress as text does, as PNG files without an image library."""

from __future__ import annotations

import struct
import zlib

import numpy as np

_STROKE, _GAP = 3, 9  # pixels
_INK, _PAPER, _NOISE = 40, 230, 6


def line_of_strokes(width: int, height: int, random: np.random.RandomState) -> np.ndarray:
    """Dark strokes on light paper with some noise, uint8 [height, width, 3]."""
    pixels = np.full((height, width, 3), _PAPER, np.int32) + random.randint(-_NOISE, _NOISE + 1, (height, width, 3))
    for left in range(_STROKE, width - _STROKE, _GAP):
        top, bottom = sorted(random.randint(0, height, 2))
        pixels[top : bottom + 1, left : left + _STROKE] = _INK
    return pixels.clip(0, 255).astype(np.uint8)


def as_png(pixels: np.ndarray) -> bytes:
    """The PNG file of uint8 [height, width, 3]."""
    height, width, _ = pixels.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)  # 0: no filter
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits a channel, RGB
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in parts)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
