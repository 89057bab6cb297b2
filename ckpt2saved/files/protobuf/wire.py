"""Protobuf's wire format: lazy reading of fields from a file or memory, and writing of fields."""

from __future__ import annotations

from typing import BinaryIO, Callable, Iterator, List, NamedTuple, Tuple, Union

Read = Callable[[int, int], bytes]  # the bytes of a file between two offsets

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
KEY, VALUE = 1, 2  # the fields of a map's entry

_IN_MEMORY = 1 << 16  # bytes of a message that is read at once; a longer one is walked in pieces of so many
_LONGEST_KEY = 20  # bytes of a field's number and length
_MOST_BITS = (1 << 64) - 1
MOST_FIELDS = 4000000  # of one message; more than a protobuf of TensorFlow's has


class Malformed(Exception):
    """The bytes are not a complete protobuf message; the text may give a reason."""


class Part(NamedTuple):
    """An unread field value or message: a range of a file or of bytes in memory."""

    source: Union[bytes, Read]
    start: int
    end: int

    @property
    def size(self) -> int:
        """Return the size in bytes."""
        return self.end - self.start

    def content(self) -> bytes:
        """Return the bytes."""
        if isinstance(self.source, bytes):
            return self.source[self.start : self.end]
        return self.source(self.start, self.end)

    def text(self) -> str:
        """Return the value of a string field."""
        try:
            return self.content().decode("utf-8")
        except UnicodeDecodeError:
            raise Malformed from None

    def integer(self) -> int:
        """Return the value of an int64, enum or bool field."""
        data = Part(self.source, self.start, min(self.end, self.start + 10)).content()
        return _signed(varint(data, 0)[0])

    def integers(self) -> List[int]:
        """Return the values of a repeated int32, int64, enum or bool field, packed or not."""
        data = self.content()
        found, at = [], 0
        while at < len(data):
            value, at = varint(data, at)
            found.append(_signed(value))
        return found

    def in_memory(self) -> Part:
        """Return the part in memory, unless it is long."""
        return self if isinstance(self.source, bytes) or self.size > _IN_MEMORY else of_bytes(self.content())

    def kept(self) -> Part:
        """Return the part in memory without surrounding bytes, unless it is long."""
        return self if self.size > _IN_MEMORY else of_bytes(self.content())


_new = tuple.__new__  # makes a Part in half the time


def of_bytes(content: bytes) -> Part:
    """Return a message in memory as a Part."""
    return Part(content, 0, len(content))


def of_file(file: BinaryIO, size: int) -> Part:
    """Return a file of `size` bytes as a Part."""

    def read(start: int, end: int) -> bytes:
        file.seek(start)
        return file.read(end - start)

    return Part(read, 0, size)


def fields(message: Part) -> Iterator[Tuple[int, Part]]:
    """Yield number and value of every field of a message.

    Raises Malformed for invalid data and for more than MOST_FIELDS fields.
    """
    source, position, end = message
    # Of a file some bytes are in memory: `data`, from the offset `origin` on.
    is_in_memory = isinstance(source, bytes)
    origin, data = (0, source) if isinstance(source, bytes) else (position, b"")
    for _ in range(MOST_FIELDS):
        if position >= end:
            return
        at = position - origin
        if not (is_in_memory or len(data) - at >= _LONGEST_KEY or origin + len(data) >= end):
            origin, at = position, 0
            data = source(position, min(end, position + _IN_MEMORY))  # type: ignore[operator]
        try:
            key = data[at]
            if key < 0x80:
                at += 1
            else:
                key, at = _varint_in(data, at)
            wire_type = key & 7
            if wire_type == _BYTES:
                length = data[at]
                if length < 0x80:
                    at += 1
                else:
                    length, at = _varint_in(data, at)
                after = at + length
            elif wire_type == _VARINT:
                after = at + 1 if data[at] < 0x80 else _varint_in(data, at)[1]
            elif wire_type in (_FIXED64, _FIXED32):
                after = at + (8 if wire_type == _FIXED64 else 4)
            else:
                raise Malformed
        except IndexError:
            raise Malformed from None
        position = origin + after
        if position > end or key < 8:
            raise Malformed
        if after <= len(data):
            yield key >> 3, _new(Part, (data, at, after))
        else:
            yield key >> 3, Part(source, origin + at, position)
            origin, data = position, b""
    if position < end:
        raise Malformed(f"a message of more than {MOST_FIELDS} fields")


Walk = Callable[[Part], Iterator[Tuple[int, Part]]]  # as fields()


def each(message: Part, number: int) -> Iterator[Part]:
    """Yield every value of one field."""
    for found, value in fields(message):
        if found == number:
            yield value


def entries(message: Part, number: int) -> Iterator[Tuple[str, Part]]:
    """Yield key and value of every entry of a map with string keys."""
    for entry in each(message, number):
        yield entry_of(entry)


def entry_of(entry: Part, walk: Walk = fields) -> Tuple[str, Part]:
    """Return key and value of a map entry with a string key."""
    parts = dict(walk(entry))
    return parts[KEY].text() if KEY in parts else "", parts.get(VALUE, Part(b"", 0, 0))


def varint(data: bytes, at: int) -> Tuple[int, int]:
    """Return the varint at an offset, and the offset after it."""
    try:
        return _varint_in(data, at)
    except IndexError:
        raise Malformed from None


def written(number: int, value: Union[int, bytes]) -> bytes:
    """Return an encoded field: a varint if `value` is an integer, length-delimited if it is bytes."""
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


def _varint_in(data: bytes, at: int) -> Tuple[int, int]:
    """Return the varint at an offset, and the offset after it; IndexError if the data ends before.

    As in protobuf, the bits above the 64th are dropped.
    """
    byte = data[at]
    if byte < 0x80:
        return byte, at + 1
    value = byte & 0x7F
    for shift in range(7, 70, 7):
        at += 1
        byte = data[at]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & _MOST_BITS, at + 1
    raise Malformed


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value
