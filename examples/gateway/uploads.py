"""The pictures that clients send: checked, upright, and in a format that the models decode."""

from __future__ import annotations

import io
from typing import Any, Tuple

import numpy as np
from flask import Request
from PIL import Image, ImageOps

MOST_BYTES, MOST_PIXELS = 32 << 20, 64 << 20  # of a picture; the detector decodes no more pixels
_MOST_REFUSED = 256 << 20  # bytes that are read, and dropped, of a body that is too large
_FORM = 64 << 10  # bytes of a form beside the picture
DECODED_BY_MODELS = ("PNG", "JPEG", "GIF", "BMP")
FORMATS = (*DECODED_BY_MODELS, "WEBP", "TIFF")
_DAMAGES = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # that Pillow raises
_ORIENTATION = 0x0112  # the tag of EXIF; cameras of phones write it in place of turning the pixels


class Unread(Exception):
    """A picture that is not read; `code` is the HTTP status, `fields` what the JSON has beside the message."""

    def __init__(self, code: int, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.code, self.fields = code, fields


def uploaded(request: Request) -> bytes:
    """The bytes of the picture: the body, or the one file of a form; raises Unread."""
    if "Transfer-Encoding" in request.headers:
        if request.environ.get("wsgi.input_terminated"):  # reading ends where the body does
            _drop(request, _MOST_REFUSED)
        raise Unread(411, "a body in chunks; send it with its Content-Length")
    size = request.content_length or 0
    if size > MOST_BYTES + _FORM:
        _drop(request, min(size, _MOST_REFUSED))
        raise Unread(413, f"{size} bytes; at most {MOST_BYTES >> 20} MiB are read: send a smaller picture")
    if request.mimetype != "multipart/form-data":
        return request.get_data()
    files = [file for _, file in request.files.items(multi=True)]
    if len(files) != 1:
        raise Unread(400, f"a form with {len(files)} files; expected one, as in curl -F picture=@page.png")
    return files[0].read()


def _drop(request: Request, size: int) -> None:
    """Read a body that is refused: a client reads no answer while it sends, and would report a broken connection."""
    for _ in range(size >> 16):
        if not request.environ["wsgi.input"].read(1 << 16):
            return


def accepted(content: bytes) -> Tuple[bytes, Image.Image]:
    """Bytes that the models decode, and the same picture, upright as browsers show it; raises Unread."""
    if not content:
        raise Unread(400, "no bytes; send a picture as the body, or as a file of a form", status=1)
    try:
        picture = Image.open(io.BytesIO(content), formats=FORMATS)
        if picture.width * picture.height > MOST_PIXELS:
            size = f"{picture.width} x {picture.height} pixels"
            raise Unread(413, f"{size}, and at most {MOST_PIXELS} are read; send a smaller picture", status=3)
        is_upright = picture.format != "JPEG" or picture.getexif().get(_ORIENTATION, 1) == 1
        if picture.format in DECODED_BY_MODELS and picture.mode != "CMYK" and is_upright:
            return content, picture
        upright = Image.fromarray(pixels(ImageOps.exif_transpose(picture)))
        return as_png(upright), upright
    except _DAMAGES as error:
        raise _damaged(f"{len(content)} bytes that are not a picture, or a damaged one") from error


def pixels(picture: Image.Image) -> np.ndarray:
    """The picture as the models decode it, uint8 [height, width, 3], transparent parts on white; raises Unread."""
    try:
        if picture.mode.startswith("I"):  # 16 bits, of which the upper 8 count
            picture = Image.fromarray((np.asarray(picture) >> 8).astype("uint8"))
        if "A" in picture.mode or (picture.mode == "P" and "transparency" in picture.info):
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
        return np.asarray(picture.convert("RGB"))
    except _DAMAGES as error:
        raise _damaged(f"a damaged picture: {error}") from error


def _damaged(found: str) -> Unread:
    return Unread(400, f"{found}; send a PNG, JPEG, GIF, BMP, WebP or TIFF file", status=4)


def as_png(picture: Image.Image) -> bytes:
    """The picture as a PNG file, compressed for speed."""
    written = io.BytesIO()
    picture.save(written, "PNG", compress_level=1)
    return written.getvalue()
