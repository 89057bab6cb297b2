"""Protobuf messages without TensorFlow: in a file walked field by field, unread where not asked for; and written."""

from __future__ import annotations

import io
from typing import BinaryIO, Iterator, List, Tuple, Union

Span = Tuple[int, int]  # the offsets in the file between which something lies

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_KEY, _VALUE = 1, 2  # of a map's entry


_IN_MEMORY = 1 << 16  # bytes of a message that is read at once; a longer one is walked in pieces of so many
_LONGEST_KEY = 20  # bytes of a field's number and length
MOST_FIELDS = 4000000  # of one message; more than a protobuf of TensorFlow's has


class Malformed(Exception):
    """The bytes are no protobuf message, or not all of one; the text, if there is one, says more."""


def fields(file: BinaryIO, start: int, end: int) -> Iterator[Tuple[int, Span]]:
    """Number and span of every field of the message between two offsets; keeps no field's content.

    Raises Malformed for what is no message, and for one of more than MOST_FIELDS fields.
    """
    position = start
    origin, data = start, b""
    for _ in range(MOST_FIELDS):
        if position >= end:
            return
        at = position - origin
        if len(data) - at < _LONGEST_KEY and origin + len(data) < end:
            origin, at = position, 0
            file.seek(position)
            data = file.read(min(end - position, _IN_MEMORY))
        try:
            key, at = _varint_in(data, at)
            wire_type = key & 7
            if wire_type == _BYTES:
                length, at = _varint_in(data, at)
                value = origin + at
                position = value + length
            elif wire_type == _VARINT:
                value = origin + at
                position = origin + _varint_in(data, at)[1]
            elif wire_type == _FIXED64 or wire_type == _FIXED32:
                value = origin + at
                position = value + (8 if wire_type == _FIXED64 else 4)
            else:
                raise Malformed
        except IndexError:
            raise Malformed from None
        if position > end or key >> 3 == 0:
            raise Malformed
        if position > origin + len(data):
            origin, data = position, b""
        yield key >> 3, (value, position)
    if position < end:
        raise Malformed(f"a message of more than {MOST_FIELDS} fields")


def in_memory(file: BinaryIO, span: Span) -> Tuple[BinaryIO, Span]:
    """The message as a file of its own, which is faster to read, unless it is a long one."""
    size = span[1] - span[0]
    if size > _IN_MEMORY:
        return file, span
    return io.BytesIO(content(file, span)), (0, size)


def mapped(file: BinaryIO, span: Span, number: int) -> Iterator[Tuple[str, Span]]:
    """Key and value of every entry of a map from strings to messages, the field `number` of a message."""
    for entry in each(file, span, number):
        parts = dict(fields(file, *entry))
        yield text(file, parts[_KEY]) if _KEY in parts else "", parts.get(_VALUE, (entry[1], entry[1]))


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
    data = file.read(min(span[1] - span[0], 10))
    try:
        return _signed(_varint_in(data, 0)[0])
    except IndexError:
        raise Malformed from None


def integers(file: BinaryIO, span: Span) -> List[int]:
    """A packed field of a repeated int32, int64, enum or bool."""
    data = content(file, span)
    found, at = [], 0
    try:
        while at < len(data):
            value, at = _varint_in(data, at)
            found.append(_signed(value))
    except IndexError:
        raise Malformed from None
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


def _varint_in(data: bytes, at: int) -> Tuple[int, int]:
    """The number that is written at an offset, and the offset after it; IndexError if the data ends before."""
    byte = data[at]
    if byte < 0x80:
        return byte, at + 1
    value = byte & 0x7F
    for shift in range(7, 70, 7):
        at += 1
        byte = data[at]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at + 1
    raise Malformed


def varint(data: bytes, at: int) -> Tuple[int, int]:
    """The number that is written at an offset, and the offset after it."""
    try:
        return _varint_in(data, at)
    except IndexError:
        raise Malformed from None


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value
