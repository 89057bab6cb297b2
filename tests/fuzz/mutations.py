"""Changes of bytes and of JSON values by a seeded generator."""

from __future__ import annotations

import copy
import json
import struct
from typing import Any, List, Sequence

# What readers of numbers, lengths and offsets take for something else.
_NUMBERS = (0, 1, -1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, (1 << 63) - 1)
_FORMATS = ("<B", "<H", "<I", "<Q", ">H", ">I", ">Q")
_VALUES = (
    None, True, False, 0, 1, -1, 0.5, -0.0, 1e308, 2**31, 2**53 + 1, 2**63, -(2**63) - 1, 2**64, 10**300, 10**400, float("inf"),
    float("nan"), "", "a", "0", "-1", "é", "\0", "\ud800", "\x1b[2J", "\n::error::x", "x" * 5000, "../../etc", "/", "007",
    "9" * 400, [], {}, [[]], [{}], {"": None}, [1, "a", None, [2]], [1] * 300,
)  # fmt: skip
_WORDS: Sequence[bytes] = (
    b"{", b"}", b"[", b"]", b"<", b">", b":", b",", b'"', b"'", b"\\", b"\\u0000", b"\\ud800", b"\\x", b"\\777", b"#", b"\n",
    b"\r\n", b"\t", b"\0", b" ", b"- ", b"? ", b": ", b"&a ", b"*a", b"<<: ", b"!!python/name:os.system ", b"!!binary ",
    b"!<", b"%YAML 9.9\n", b"%TAG ! a\n", b"--- ", b"\n...\n", b"|", b">-", b"~", b"null", b"true", b"NaN", b"-Infinity",
    b"1e999", b"0x", b"1:30", b"2024-99-99", b"-0", b"9" * 500, b"\xef\xbb\xbf", b"\xff\xfe", b"\xed\xa0\x80", b"\xc3",
    b"\xf4\x90\x80\x80", b"\xe2\x80\xa8", b"\xff" * 10, b"\x80" * 10 + b"\x01",
)  # fmt: skip
_LONGEST = 1 << 16


def mutated(chance: Any, content: bytes, others: Sequence[bytes]) -> bytes:
    """Some changes of the content; parts of `others` are spliced in."""
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 5, 9))):
        chance.choice(_CHANGES)(chance, data, others)
        del data[_LONGEST:]
    return bytes(data)


def _place(chance: Any, data: bytearray) -> int:
    return chance.randrange(len(data) + 1)


def _range(chance: Any, data: bytearray) -> slice:
    start = _place(chance, data)
    return slice(start, start + chance.choice((1, 2, 4, 8, 32, 200)))


def _flip(chance: Any, data: bytearray, others: Sequence[bytes]) -> None:
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _set(chance: Any, data: bytearray, others: Sequence[bytes]) -> None:
    if data:
        data[chance.randrange(len(data))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))


def _delete(chance: Any, data: bytearray, others: Sequence[bytes]) -> None:
    del data[_range(chance, data)]


def _cut(chance: Any, data: bytearray, others: Sequence[bytes]) -> None:
    del data[_place(chance, data) :]


def _repeat(chance: Any, data: bytearray, others: Sequence[bytes]) -> None:
    part = _range(chance, data)
    data[part.start : part.start] = data[part] * chance.choice((1, 2, 10, 200))


def _insert(chance: Any, data: bytearray, others: Sequence[bytes]) -> None:
    place = _place(chance, data)
    data[place:place] = bytes(chance.randrange(256) for _ in range(chance.choice((1, 2, 4, 16))))


def _word(chance: Any, data: bytearray, others: Sequence[bytes]) -> None:
    place = _place(chance, data)
    data[place : place + chance.choice((0, 0, 1, 4))] = chance.choice(_WORDS) * chance.choice((1, 1, 1, 2, 60, 2000))


def _number(chance: Any, data: bytearray, others: Sequence[bytes]) -> None:
    form, number = chance.choice(_FORMATS), chance.choice(_NUMBERS)
    packed = struct.pack(form, number % (1 << 8 * struct.calcsize(form)))
    place = _place(chance, data)
    data[place : place + len(packed)] = packed


def _varint(chance: Any, data: bytearray, others: Sequence[bytes]) -> None:
    number, packed = chance.choice(_NUMBERS) % (1 << 64), bytearray()
    while number >= 0x80:
        packed.append(number & 0x7F | 0x80)
        number >>= 7
    place = _place(chance, data)
    data[place : place + chance.choice((1, len(packed) + 1))] = packed + bytes([number])


def _splice(chance: Any, data: bytearray, others: Sequence[bytes]) -> None:
    other = bytearray(chance.choice(others))
    part = _range(chance, other)
    place = _place(chance, data)
    data[place : place + chance.choice((0, 8))] = other[part.start :] if chance.random() < 0.3 else other[part]


def _swap(chance: Any, data: bytearray, others: Sequence[bytes]) -> None:
    one, other = _range(chance, data), _range(chance, data)
    data[one], data[other] = data[other], data[one]


_CHANGES = (_flip, _flip, _set, _delete, _cut, _repeat, _insert, _word, _word, _number, _varint, _splice, _swap)


def mutated_json(chance: Any, content: bytes) -> bytes:
    """The JSON text with some of its values or keys replaced, removed or repeated."""
    root = [json.loads(content.decode("utf-8"))]
    for _ in range(chance.choice((1, 1, 2, 4))):
        holder, key = chance.choice(_places(root))
        value = copy.deepcopy(chance.choice(_VALUES))
        if isinstance(holder, dict) and key in holder:
            how = chance.randrange(4)
            if how == 0:
                del holder[key]
            elif how == 1:
                holder[chance.choice(("", "x", "\ud800", "signature_def", "__proto__", "1"))] = holder.pop(key)
            else:
                holder[key] = value if how == 2 else [holder[key]]
        elif isinstance(holder, list):
            how = chance.randrange(3)
            if how == 0:
                holder[key] = value
            elif how == 1:
                holder.insert(key, value)
            else:
                holder[key] = {"x": holder[key]}
    return json.dumps(root[0]).encode("utf-8")


def _places(value: Any) -> List[Any]:
    """Every list and object with each index and key of it."""
    found, left = [], [value]
    while left:
        holder = left.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        for key in keys:
            found.append((holder, key))
            if isinstance(holder[key], (dict, list)):
                left.append(holder[key])
    return found
