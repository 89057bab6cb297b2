"""CRC-32C checksums as TensorFlow stores them, computed by exclusive ors of long stretches of the data.

CRC-32C's polynomial divides x^5685 + x^1362 + x^426 + 1 (found by a search of all such polynomials), so that the first
bits of the data may be removed, if they are added at three places behind: a checksum needs no table for most of the
data. The polynomial also divides that of each power of two of x, so that the bits may be bytes or words. The method is
that of Russell, "Chorba: A novel CRC32 implementation", arXiv:2412.16398.
"""

from __future__ import annotations

import functools
import sys
from typing import List

_POLYNOMIAL = 0x82F63B78  # Castagnoli's, reversed
_MASK_DELTA = 0xA282EAD8  # tensorflow/core/lib/hash/crc32c.h
_DEGREE = 5685
_PLACES = (_DEGREE - 1362, _DEGREE - 426, _DEGREE)  # where a removed bit is added, counted from it
_SERIAL = 1024  # bytes; shorter data is computed by its bytes
_PIECE = 1 << 18  # bytes that are one integer of Python
_WORD = 8  # bytes of one of NumPy's
_LONG = 1 << 17  # bytes that are faster with NumPy, where it is imported
_left = [1 << 24]  # bytes that take as long without NumPy as its import


def masked(checksum: int) -> int:
    """Return a checksum in TensorFlow's masked form, which allows checksums of data that contains checksums."""
    return ((checksum >> 15 | checksum << 17) + _MASK_DELTA) & 0xFFFFFFFF


def crc32c(data: bytes, checksum: int = 0) -> int:
    """Return the CRC-32C of data that continues with `data` and has the CRC-32C `checksum` so far."""
    state = checksum ^ 0xFFFFFFFF
    if len(data) >= _LONG and not _goes_without_numpy(len(data)):
        data, state = _folded_words(data, state), 0
    for start in range(0, len(data), _PIECE):
        piece = data[start : start + _PIECE]
        if len(piece) >= _SERIAL:
            piece, state = _folded(piece, state), 0
        state = _serial(piece, state)
    return state ^ 0xFFFFFFFF


def _goes_without_numpy(count: int) -> bool:
    """Whether NumPy is not imported, and its import would take longer than all data so far and `count` bytes more."""
    if "numpy" in sys.modules or count > _left[0]:
        return False
    _left[0] -= count
    return True


def _folded_words(data: bytes, state: int) -> bytes:
    """Return shorter data which leads from the state zero to the state to which `data` leads from `state`."""
    import numpy as np

    count = len(data) // _WORD
    words = np.frombuffer(data, dtype="<u8", count=count).copy()
    words[0] ^= np.uint64(state)
    start = 0
    while count - start > _DEGREE:
        size = min(_PLACES[0], count - start - _DEGREE)
        removed = words[start : start + size]
        for place in _PLACES:
            words[start + place : start + place + size] ^= removed
        start += size
    left: bytes = words[start:].tobytes() + data[count * _WORD :]
    return left


def _folded(data: bytes, state: int) -> bytes:
    """Return what _folded_words() does, shorter still, by integers of Python: the first bit is their lowest."""
    bits, left = int.from_bytes(data, "little") ^ state, 8 * len(data)
    unit = 1 << (left // _DEGREE).bit_length()
    while unit:
        while left > _DEGREE * unit + 8:
            size = min(_PLACES[0] * unit, left - _DEGREE * unit) & ~7
            removed = bits & ((1 << size) - 1)
            bits >>= size
            for place in _PLACES:
                bits ^= removed << (place * unit - size)
            left -= size
        unit >>= 1
    return bits.to_bytes(left // 8, "little")


@functools.lru_cache(maxsize=None)
def _byte_table() -> List[int]:
    table = []
    for state in range(256):
        for _ in range(8):
            state = (state >> 1) ^ (_POLYNOMIAL if state & 1 else 0)
        table.append(state)
    return table


def _serial(data: bytes, state: int) -> int:
    table = _byte_table()
    for byte in data:
        state = table[(state ^ byte) & 0xFF] ^ (state >> 8)
    return state
