"""Format and size of pictures, read from the first bytes of their files."""

from __future__ import annotations

from typing import List, NamedTuple, Tuple

from ckpt2saved.graph.tf1 import tf

EMPTY, UNKNOWN, PNG, PNG_WITH_ALPHA, JPEG, GIF, BMP = range(7)

_BYTES = 32  # of a file that are looked at
_PNG = (0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A)
_ALPHA_TYPES = (3, 4, 6)  # colour types of PNG: palette, which may have an alpha channel, gray with alpha, RGBA
_GREATEST = 1 << 31  # a size in pixels; no format here has more


class Headers(NamedTuple):
    """What the first bytes of each picture say."""

    kind: tf.Tensor  # int32 [batch]
    height: tf.Tensor  # int64 [batch], 1 for JPEG and unknown formats
    width: tf.Tensor  # int64 [batch], 1 for JPEG and unknown formats


def read_headers(contents: tf.Tensor) -> Headers:
    """Return format and size of each file of `contents`, string [batch].

    The size of a JPEG file lies behind parts of any length: `ExtractJpegShape` finds it.
    """
    first = tf.strings.join([tf.strings.substr(contents, 0, _BYTES), tf.constant(b"\0" * _BYTES)])
    header = tf.cast(tf.io.decode_raw(tf.strings.substr(first, 0, _BYTES), tf.uint8), tf.int64)
    header = tf.reshape(header, [-1, _BYTES])
    parts = tf.unstack(header, axis=1)

    def starts_with(*values: int) -> tf.Tensor:
        return _all(tf.equal(part, value) for part, value in zip(parts, values))

    is_png = _all([starts_with(*_PNG), _all(tf.equal(parts[12 + i], byte) for i, byte in enumerate(b"IHDR"))])
    is_alpha = tf.reduce_any(tf.equal(parts[25][:, None], tf.constant(_ALPHA_TYPES, tf.int64)), axis=1)
    is_gif = tf.logical_or(starts_with(*b"GIF87a"), starts_with(*b"GIF89a"))
    is_bmp = starts_with(*b"BM")
    kinds: List[Tuple[tf.Tensor, int]] = [
        (tf.logical_and(is_png, tf.logical_not(is_alpha)), PNG),
        (tf.logical_and(is_png, is_alpha), PNG_WITH_ALPHA),
        (starts_with(0xFF, 0xD8, 0xFF), JPEG),
        (is_gif, GIF),
        (is_bmp, BMP),
        (tf.equal(tf.strings.length(contents), 0), EMPTY),
    ]
    kind, height, width = [tf.fill(tf.shape(contents), value) for value in (UNKNOWN, 1, 1)]
    height, width = tf.cast(height, tf.int64), tf.cast(width, tf.int64)
    for mask, number in kinds:
        kind = tf.where(mask, tf.fill(tf.shape(kind), number), kind)
    sizes = [
        (is_png, _big_endian(parts[20:24]), _big_endian(parts[16:20])),
        (is_gif, _little_endian(parts[8:10]), _little_endian(parts[6:8])),
        (is_bmp, _signed(parts[22:26]), _signed(parts[18:22])),
    ]
    for mask, rows, columns in sizes:
        height, width = tf.where(mask, rows, height), tf.where(mask, columns, width)
    return Headers(kind, height, width)


def _all(conditions: object) -> tf.Tensor:
    return tf.reduce_all(tf.stack(list(conditions), axis=0), axis=0)  # type: ignore[call-overload]


def _big_endian(parts: List[tf.Tensor]) -> tf.Tensor:
    return tf.add_n([part * 256**place for place, part in enumerate(reversed(parts))])


def _little_endian(parts: List[tf.Tensor]) -> tf.Tensor:
    return _big_endian(list(reversed(parts)))


def _signed(parts: List[tf.Tensor]) -> tf.Tensor:
    """The absolute value: a BMP picture of negative height has its first row first."""
    value = _little_endian(parts)
    return tf.where(value >= _GREATEST, 2 * _GREATEST - value, value)
