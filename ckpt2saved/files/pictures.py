"""Reading of image files; the file size and the pixel count are limited before decoding."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Optional, Tuple

from ckpt2saved.files.reading import open_file

MOST_PIXELS = 100000000  # an A3 page at 600 dpi has 70 million
_MOST_BYTES = 256 << 20
_START_OF_FRAME = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # markers of JPEG
_ALONE = set(range(0xD0, 0xD9)) | {0x01}  # markers without a length


class NoPicture(Exception):
    """The file is not an image, or is too large; the message gives the reason without the file's name."""


def read_picture(path: Path, of_any_format: bool = False) -> bytes:
    """Return the bytes of a PNG, JPEG, GIF or BMP file; raises NoPicture if invalid or too large.

    With `of_any_format`, files of other formats are accepted; their pixel count is not checked.
    """
    try:
        with open_file(path) as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise NoPicture(error.strerror or str(error)) from error
    if len(content) > _MOST_BYTES:
        raise NoPicture(f"more than {_MOST_BYTES >> 20} MB; expected a smaller file")
    size = picture_size(content)
    if size is not None and 0 not in size:
        check_pixels(*size)
    elif not of_any_format:
        raise NoPicture("no PNG or JPEG picture")
    return content


def check_pixels(width: int, height: int) -> None:
    """Raise NoPicture if an image has more than MOST_PIXELS pixels."""
    if width * height > MOST_PIXELS:
        raise NoPicture(
            f"a picture of {width} x {height} pixels; at most {MOST_PIXELS // 1000000} million pixels are decoded"
        )


def picture_size(content: bytes) -> Optional[Tuple[int, int]]:
    """Return width and height in pixels; None if the header is not that of an image."""
    try:
        if content.startswith(b"\x89PNG\r\n\x1a\n") and content[12:16] == b"IHDR":
            return struct.unpack(">II", content[16:24])
        if content.startswith(b"\xff\xd8\xff"):
            return _size_of_jpeg(content)
        if content[:6] in (b"GIF87a", b"GIF89a"):
            return struct.unpack("<HH", content[6:10])
        if content.startswith(b"BM"):
            width, height = struct.unpack("<ii", content[18:26])
            return abs(width), abs(height)
    except (struct.error, IndexError):  # truncated
        pass
    return None


def _size_of_jpeg(content: bytes) -> Optional[Tuple[int, int]]:
    at = 2
    while content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xFF:  # padding
            at += 1
        elif marker in _ALONE:
            at += 2
        elif marker in _START_OF_FRAME:
            height, width = struct.unpack(">HH", content[at + 5 : at + 9])
            return width, height
        else:
            at += 2 + struct.unpack(">H", content[at + 2 : at + 4])[0]
    return None
