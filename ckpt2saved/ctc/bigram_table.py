"""Tables of character pairs: counted in a text, or read from a file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Counter as CounterType
from typing import Dict, Iterable, Iterator, List, NamedTuple, Sequence, Tuple

import numpy as np

from ckpt2saved.files.npz import NoArrays, read_array

_TABLE, _LABELS = ".npy", ".tsv"


class NoTable(Exception):
    """The file gives no table; the message gives the reason without the file's name."""


class PairTable(NamedTuple):
    """The logarithms of the probabilities of pairs, [classes, classes] as LanguageModel has them."""

    table: np.ndarray
    characters: int = 0  # characters that were counted
    unknown: int = 0  # characters of the text that no class stands for


def pair_table(file: Path, symbols: Sequence[str], classes: int) -> PairTable:
    """Return the table in a .npy file, or that of the pairs in the lines of a text.

    `symbols` are the characters of the classes without the blank, "" for a class without one. In a .tsv file the text
    of a line is after its first tab. Raises NoTable.
    """
    if file.suffix.lower() == _TABLE:
        return PairTable(_read_table(file, classes))
    counted = count_pairs(_lines(file), symbols, classes)
    if not counted.characters:
        reason = f"none of its {counted.unknown} characters is one of a class" if counted.unknown else "no text in it"
        raise NoTable(f"{reason}; expected lines as the network reads them, in UTF-8")
    return counted


def count_pairs(lines: Iterable[str], symbols: Sequence[str], classes: int) -> PairTable:
    """Return the table of the pairs of neighbouring characters in `lines`; empty lines do not count.

    p(b | a) = (c(a, b) + d(a) p(b)) / (c(a) + d(a)), where c counts, d(a) is the number of different characters that
    follow a, and p(b) = (c(b) + 1) / (c + classes). This is Witten-Bell smoothing (Witten and Bell, "The zero-frequency
    problem", IEEE Transactions on Information Theory 37, 1991, method C). The start and the end of a line are the
    blank. A character that no class stands for ends a chain: the pairs with it are not counted.
    """
    ids = {symbol: label for label, symbol in enumerate(symbols) if symbol}
    longest = max(map(len, ids), default=1)
    blank = classes - 1
    pairs: CounterType[Tuple[int, int]] = Counter()
    characters = unknown = 0
    for line in lines:
        if line:
            labels = _labels(line, ids, longest)
            chain = [blank, *labels, blank]
            pairs.update(zip(chain, chain[1:]))
            unknown += labels.count(-1)
            characters += len(labels)
    counts = np.zeros([classes, classes])
    for (previous, label), count in pairs.items():
        if previous >= 0 and label >= 0:
            counts[previous, label] = count
    alone = (counts.sum(0) + 1) / (counts.sum() + classes)
    followers = np.count_nonzero(counts, axis=1)[:, np.newaxis]
    total = counts.sum(1, keepdims=True)
    smoothed = (counts + followers * alone) / np.maximum(total + followers, 1)
    table = np.log(np.where(total > 0, smoothed, alone))
    return PairTable(table.astype(np.float32), characters - unknown, unknown)


def _labels(line: str, ids: Dict[str, int], longest: int) -> List[int]:
    """Return the labels of the longest symbols from left to right, -1 for a character that starts no symbol."""
    if longest == 1:
        return [ids.get(character, -1) for character in line]
    labels, place = [], 0
    while place < len(line):
        sizes = [size for size in range(longest, 0, -1) if line[place : place + size] in ids]
        size = sizes[0] if sizes else 1
        labels.append(ids.get(line[place : place + size], -1))
        place += size
    return labels


def _lines(file: Path) -> Iterator[str]:
    try:
        with file.open("rb") as opened:
            for number, content in enumerate(opened, start=1):
                yield _text(content, number, file.suffix.lower() == _LABELS)
    except OSError as error:
        raise NoTable(f"can't be read: {error.strerror}") from error


def _text(content: bytes, number: int, has_path: bool) -> str:
    try:
        line = content.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise NoTable(f"line {number} is not UTF-8 (byte 0x{byte:02x}); convert the file to UTF-8") from error
    return line.partition("\t")[2] if has_path else line


def _read_table(file: Path, classes: int) -> np.ndarray:
    try:
        table = read_array(file)
    except NoArrays as error:
        raise NoTable(f"can't be read: {error}") from error
    if table.shape != (classes, classes) or table.dtype.kind != "f":
        found = f"{table.dtype} {list(table.shape)}"
        raise NoTable(f"found {found}; expected floats [{classes}, {classes}], the blank last")
    return table
