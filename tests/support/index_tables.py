"""Index files of checkpoints, made of any bytes, with checksums that fit."""

from __future__ import annotations

import struct

from ckpt2saved.files.protobuf.crc32c import crc32c, masked

_MAGIC = bytes.fromhex("57fb808b247547db")


def entry(key, value, shared=0):
    """A name, without the `shared` bytes that it begins with as the name before it, and its value."""
    return varint(shared) + varint(len(key)) + varint(len(value)) + key + value


def index_table(*blocks, times=1):
    """An index whose blocks have these bytes as their entries; each is listed so many times."""
    content, places = bytearray(), []
    for block in blocks:
        places.append(_appended(content, block))
    pointers = b"".join(entry(b"\xff", place) for place in places for _ in range(times))
    footer = _appended(content, b"") + _appended(content, pointers)
    return bytes(content) + footer.ljust(40, b"\0") + _MAGIC


def _appended(content, entries):
    """Append a block; its place as an index has it."""
    block = entries + struct.pack("<II", 0, 1)
    place = varint(len(content)) + varint(len(block))
    content += block + b"\0" + struct.pack("<I", masked(crc32c(block + b"\0")))
    return place


def varint(number):
    packed = bytearray()
    while number >= 0x80:
        packed.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(packed) + bytes([number])
