"""CRC-32C checksums as TensorFlow stores them, vectorized by NumPy for long data."""

from __future__ import annotations

import functools
import sys
from typing import Any, List, Tuple

_POLYNOMIAL = 0x82F63B78  # Castagnoli's, reversed
_MASK_DELTA = 0xA282EAD8  # tensorflow/core/lib/hash/crc32c.h
_LONG = 1 << 20  # bytes; shorter data gets short lanes
_LANE, _SHORT_LANE = 4096, 128  # bytes of a lane, powers of two
_SERIAL = 1024  # shorter data is computed without lanes
_serial_left = [1 << 18]  # bytes that take as long without lanes as the import of NumPy


def masked(checksum: int) -> int:
    """Return a checksum in TensorFlow's masked form, which allows checksums of data that contains checksums."""
    return ((checksum >> 15 | checksum << 17) + _MASK_DELTA) & 0xFFFFFFFF


def crc32c(data: bytes, checksum: int = 0) -> int:
    """Return the CRC-32C of data that continues with `data` and has the CRC-32C `checksum` so far."""
    if len(data) < _SERIAL or _goes_without_numpy(len(data)):
        return _serial(data, checksum)
    import numpy as np

    lane = _LANE if len(data) >= _LONG else _SHORT_LANE
    lanes = len(data) // lane
    words = np.frombuffer(data, dtype="<u4", count=lanes * lane // 4).reshape(lanes, lane // 4)
    low, high = _word_tables()
    states = np.zeros(lanes, np.uint32)
    states[0] = checksum ^ 0xFFFFFFFF
    for column in np.ascontiguousarray(words.T):
        states ^= column
        states = low[states & 0xFFFF] ^ high[states >> 16]
    return _serial(data[lanes * lane :], _joined(states, lane) ^ 0xFFFFFFFF)


def _goes_without_numpy(count: int) -> bool:
    """Whether NumPy is not imported, and its import would take longer than all data so far and `count` bytes more."""
    if "numpy" in sys.modules or count > _serial_left[0]:
        return False
    _serial_left[0] -= count
    return True


def _joined(states: Any, lane: int) -> int:
    """Combine the states of consecutive lanes; all but the first started with state zero."""
    import numpy as np

    while len(states) > 1:
        if len(states) % 2:
            states = np.concatenate([np.zeros(1, np.uint32), states])  # a leading zero state changes nothing
        states = _after(_zeros(lane), states[0::2]) ^ states[1::2]
        lane *= 2
    return int(states[0])


def _after(tables: Any, states: Any) -> Any:
    """Return the states after the number of zero bytes that the tables represent."""
    found = tables[0][states & 0xFF]
    for place in (1, 2, 3):
        found = found ^ tables[place][(states >> (8 * place)) & 0xFF]
    return found


@functools.lru_cache(maxsize=None)
def _zeros(count: int) -> Any:
    """Return the effect of `count` zero bytes, a power of two, on each byte of a state: uint32 [4, 256]."""
    if count > 1:
        half = _zeros(count // 2)
        return _after(half, half)
    import numpy as np

    one_byte = np.array(_byte_table(), np.uint32)
    states = np.arange(256, dtype=np.uint32) << (8 * np.arange(4, dtype=np.uint32))[:, None]
    return one_byte[states & 0xFF] ^ (states >> 8)


@functools.lru_cache(maxsize=None)
def _word_tables() -> Tuple[Any, Any]:
    """Return the effect of four zero bytes on the lower and upper half of a state: uint32 [65536] each."""
    import numpy as np

    halves = np.arange(65536, dtype=np.uint32)
    return _after(_zeros(4), halves), _after(_zeros(4), halves << np.uint32(16))


@functools.lru_cache(maxsize=None)
def _byte_table() -> List[int]:
    table = []
    for state in range(256):
        for _ in range(8):
            state = (state >> 1) ^ (_POLYNOMIAL if state & 1 else 0)
        table.append(state)
    return table


def _serial(data: bytes, checksum: int) -> int:
    table = _byte_table()
    state = checksum ^ 0xFFFFFFFF
    for byte in data:
        state = table[(state ^ byte) & 0xFF] ^ (state >> 8)
    return state ^ 0xFFFFFFFF
