"""Corruptions of files, the same ones each time: cut, flipped, zeroed, swapped, longer, another's, gone, of another kind."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import Callable, Iterator, NamedTuple, Sequence

_BLOCK = 64
FLIPS, CUTS = 10, 4


class Corruption(NamedTuple):
    """A change of one file; `place` is the first byte that differs, -1 where the file is no longer one."""

    name: str
    apply: Callable[[Path], object]
    place: int


def corruptions(path: Path, others: Sequence[Path]) -> Iterator[Corruption]:
    """The corruptions of a file, of which `others` are put in its place. None leaves the bytes as they are."""
    content = path.read_bytes()
    chance = random.Random(path.name)
    size = len(content)
    for name, changed in _changes(content, chance):
        if changed != content:
            place = next(
                (at for at in range(min(size, len(changed))) if content[at] != changed[at]), min(size, len(changed))
            )
            yield Corruption(name, _writing(changed), place)
    for other in others:
        if other.read_bytes() != content:
            yield Corruption(f"{other.name} in its place", _writing(other.read_bytes()), 0)
    yield Corruption("gone", os.unlink, -1)
    yield Corruption("a directory", _replaced(os.mkdir), -1)
    yield Corruption("a dangling link", _replaced(lambda path: os.symlink("nowhere", str(path))), -1)
    yield Corruption("a link to itself", _replaced(lambda path: os.symlink(path.name, str(path))), -1)
    yield Corruption("a pipe", _replaced(os.mkfifo), -1)


def _changes(content: bytes, chance: random.Random) -> Iterator[object]:
    size = len(content)
    for cut in sorted({0, 1, size // 2, size - 1, *(chance.randrange(size) for _ in range(CUTS))}):
        yield f"cut to {cut}", content[:cut]
    for _ in range(FLIPS):
        at, bit = chance.randrange(size), chance.randrange(8)
        yield f"bit {bit} of {at} flipped", content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]
    for at in sorted({0, size // 3, max(0, size - _BLOCK)}):
        block = content[at : at + _BLOCK]
        yield f"zeros at {at}", content[:at] + bytes(len(block)) + content[at + len(block) :]
    half = size // 2
    yield "halves swapped", content[half:] + content[:half]
    yield "a byte more", content + b"\0"
    yield "twice", content + content
    yield "a byte gone", content[:half] + content[half + 1 :]
    yield "all ones", b"\xff" * size


def _writing(content: bytes) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        path.unlink()  # hard links lead to others' files
        path.write_bytes(content)

    return write


def _replaced(make: Callable[[Path], object]) -> Callable[[Path], object]:
    def replace(path: Path) -> None:
        path.unlink()
        make(path)

    return replace


def fresh_copy(directory: Path, target: Path) -> Path:
    """A copy of a directory in place of what is there."""
    if target.exists():
        shutil.rmtree(str(target))
    return Path(shutil.copytree(str(directory), str(target)))
