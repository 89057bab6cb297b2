"""Protobuf messages without TensorFlow: in a file walked field by field, unread where not asked for; and written."""

from __future__ import annotations

from typing import BinaryIO, Iterator, List, Tuple, Union

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
        start_of_value = file.tell()
        if wire_type == _BYTES:
            length = _varint(file)
            start_of_value = file.tell()
        elif wire_type in (_FIXED64, _FIXED32):
            length = 8 if wire_type == _FIXED64 else 4
        elif wire_type == _VARINT:
            _varint(file)
            length = file.tell() - start_of_value
        else:
            raise Malformed
        position = start_of_value + length
        if position > end or key >> 3 == 0:
            raise Malformed
        yield key >> 3, (start_of_value, position)


def content(file: BinaryIO, span: Span) -> bytes:
    """A field of type bytes."""
    file.seek(span[0])
    return file.read(span[1] - span[0])


def text(file: BinaryIO, span: Span) -> str:
    """A field of type string."""
    try:
        return content(file, span).decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed from None


def integer(file: BinaryIO, span: Span) -> int:
    """A field of type int64, enum or bool."""
    file.seek(span[0])
    value = _varint(file)
    return value - (1 << 64) if value >= 1 << 63 else value


def integers(file: BinaryIO, span: Span) -> List[int]:
    """A packed field of a repeated int32, int64, enum or bool."""
    found = []
    position = span[0]
    while position < span[1]:
        found.append(integer(file, (position, span[1])))
        position = file.tell()
    return found


def written(number: int, value: Union[int, bytes]) -> bytes:
    """A field: of a type that is a varint where `value` is an integer, of one with a length where it is bytes."""
    if isinstance(value, int):
        return _encoded(number << 3 | _VARINT) + _encoded(value % (1 << 64))
    return _encoded(number << 3 | _BYTES) + _encoded(len(value)) + value


def _encoded(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def each(file: BinaryIO, span: Span, number: int) -> Iterator[Span]:
    """Every occurrence of one field in the message that lies in the span."""
    for found, at in fields(file, *span):
        if found == number:
            yield at


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
