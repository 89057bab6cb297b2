"""Protobuf messages in a file, walked field by field without TensorFlow and without reading what is not asked for."""

from __future__ import annotations

from typing import BinaryIO, Iterator, Tuple

Span = Tuple[int, int]  # the offsets in the file between which something lies

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class Malformed(Exception):
    """The bytes are no protobuf message, or not all of one."""


def fields(file: BinaryIO, start: int, end: int) -> Iterator[Tuple[int, Span]]:
    """Number and span of every field of the message between two offsets; reads no field's content."""
    position = start
    while position < end:
        file.seek(position)
        key = _varint(file)
        wire_type = key & 7
        content = file.tell()
        if wire_type == _BYTES:
            length = _varint(file)
            content = file.tell()
        elif wire_type in (_FIXED64, _FIXED32):
            length = 8 if wire_type == _FIXED64 else 4
        elif wire_type == _VARINT:
            _varint(file)
            length = file.tell() - content
        else:
            raise Malformed
        position = content + length
        if position > end or key >> 3 == 0:
            raise Malformed
        yield key >> 3, (content, position)


def text(file: BinaryIO, span: Span) -> str:
    """A field of type string."""
    file.seek(span[0])
    try:
        return file.read(span[1] - span[0]).decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed from None


def integer(file: BinaryIO, span: Span) -> int:
    """A field of type int64, enum or bool."""
    file.seek(span[0])
    value = _varint(file)
    return value - (1 << 64) if value >= 1 << 63 else value


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise Malformed
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise Malformed
