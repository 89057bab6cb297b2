"""Pictures made in memory, for parity cases that have none for an input that takes some."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from typing import List, Sequence

import numpy as np

from ckpt2saved.signature.model import ExampleInput, ParityCase
from ckpt2saved.signature.tensors import Signature

# Width and height of the pictures in turn; None: bytes that are no picture.
_SIZES = ((100, 32), (61, 24), (200, 48), None, (33, 33))


def with_pictures(case: ParityCase, signatures: Sequence[Signature]) -> ParityCase:
    """Return the case with pictures for each input that takes some and has none."""
    inputs = dict(case.inputs)
    for signature in signatures:
        for spec in signature.pictures:
            (size,) = spec.dimensions
            count = size if isinstance(size, int) else case.dims[str(size)]
            inputs.setdefault(spec.key, ExampleInput(None, example_pictures(count)))
    return replace(case, inputs=inputs)


def example_pictures(count: int) -> List[bytes]:
    """Return PNG files of various sizes, among them some bytes that are none."""
    sizes = [_SIZES[number % len(_SIZES)] for number in range(count)]
    return [b"no picture" if size is None else png(*size, seed=number) for number, size in enumerate(sizes)]


def png(width: int, height: int, seed: int = 0) -> bytes:
    """Return a PNG file of random gray strokes on white, not compressed, so that its bytes are always the same."""
    random = np.random.RandomState(seed)
    pixels = np.full((height, width), 255, np.uint8)
    for left in range(2, width - 4, 7):
        top, bottom = sorted(random.randint(0, height, 2))
        pixels[top : bottom + 1, left : left + random.randint(1, 4)] = random.randint(0, 128)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows, 0)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_part(name, content) for name, content in parts)


def _part(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
