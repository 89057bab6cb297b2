"""The index of a V2 checkpoint: where in its data files each tensor lies, and in which slices; without TensorFlow."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import BinaryIO, Dict, Iterator, List, Mapping, Tuple

from ckpt2saved.checkpoint_files import CheckpointFiles
from ckpt2saved.wire import Malformed, content, fields, integer

# A table file (tensorflow/core/lib/io/format.h): blocks of sorted keys, a block that lists them, and a footer.
_FOOTER, _TRAILER = 48, 5  # bytes
_UNCOMPRESSED = 0
# Fields of BundleEntryProto, TensorShapeProto, TensorSliceProto and their parts.
_SHAPE, _SHARD, _OFFSET, _SIZE, _SLICES = 2, 3, 4, 5, 7
_DIM, _DIM_SIZE = 2, 1
_EXTENT, _START, _LENGTH = 1, 1, 2


@dataclass(frozen=True)
class Entry:
    """One tensor of a checkpoint. A partitioned one has no bytes of its own; each of its slices has."""

    shape: Tuple[int, ...]
    shard: int
    offset: int  # bytes
    size: int  # bytes
    slices: Tuple[
        str, ...
    ]  # those that exist, as RestoreV2 wants them: the whole's sizes, then start,size of each axis


@dataclass(frozen=True)
class Index:
    """Every tensor in the index of a checkpoint, by name, and how long the index says that the data files are."""

    entries: Mapping[str, Entry]
    ends: Mapping[int, int]  # number of a data file -> where its last tensor ends, in bytes

    def is_cut_off(self, files: CheckpointFiles) -> bool:
        """Whether a data file ends before its last tensor does."""
        sizes = [shard.stat().st_size for shard in files.files[1:]]
        return any(shard < len(sizes) and end > sizes[shard] for shard, end in self.ends.items())


def read_index(files: CheckpointFiles) -> Index:
    """The index of a V2 checkpoint; empty where this code cannot read it (V1, compressed, or damaged)."""
    if files.is_v1:
        return Index({}, {})
    path = files.prefix.with_name(files.prefix.name + ".index")
    found, ends = {}, {}  # type: Dict[str, Entry], Dict[int, int]
    try:
        with path.open("rb") as file:
            for key, value in _pairs(file):
                if not key:  # the header
                    continue
                entry = _entry(value)
                ends[entry.shard] = max(ends.get(entry.shard, 0), entry.offset + entry.size)
                if not key.startswith(b"\0"):  # the bytes of a slice
                    found[key.decode("utf-8", "replace")] = entry
    except (OSError, Malformed, struct.error):
        return Index({}, {})
    return Index(found, ends)


def is_cut_off(files: CheckpointFiles, entry: Entry) -> bool:
    """Whether the data file of a tensor ends before the tensor does."""
    shards = files.files[1:]
    if entry.slices or not entry.shard < len(shards):
        return False
    return entry.offset + entry.size > shards[entry.shard].stat().st_size


def _entry(value: bytes) -> Entry:
    message, numbers, shape, slices = io.BytesIO(value), {}, (), []  # type: BinaryIO, Dict[int, int], Tuple, List[bytes]
    for number, span in fields(message, 0, len(value)):
        if number == _SHAPE:
            shape = tuple(_sizes(content(message, span)))
        elif number == _SLICES:
            slices.append(content(message, span))
        elif number in (_SHARD, _OFFSET, _SIZE):
            numbers[number] = integer(message, span)
    specs = tuple(_slice_spec(shape, one) for one in slices)
    return Entry(shape, numbers.get(_SHARD, 0), numbers.get(_OFFSET, 0), numbers.get(_SIZE, 0), specs)


def _sizes(shape: bytes) -> Iterator[int]:
    for dim in _messages(shape, _DIM):
        yield _numbers(dim).get(_DIM_SIZE, 0)


def _slice_spec(shape: Tuple[int, ...], tensor_slice: bytes) -> str:
    parts = []
    for extent in _messages(tensor_slice, _EXTENT):
        numbers = _numbers(extent)
        whole = _LENGTH not in numbers
        parts.append("-" if whole else "{},{}".format(numbers.get(_START, 0), numbers[_LENGTH]))
    return "{} {}".format(" ".join(map(str, shape)), ":".join(parts))


def _messages(message: bytes, wanted: int) -> Iterator[bytes]:
    file = io.BytesIO(message)
    for number, span in fields(file, 0, len(message)):
        if number == wanted:
            yield content(file, span)


def _numbers(message: bytes) -> Dict[int, int]:
    file = io.BytesIO(message)
    return {number: integer(file, span) for number, span in fields(file, 0, len(message)) if span[1] - span[0] <= 10}


def _pairs(file: BinaryIO) -> Iterator[Tuple[bytes, bytes]]:
    """Key and value of everything in a table file."""
    end = file.seek(0, io.SEEK_END)
    if end < _FOOTER:
        raise Malformed
    file.seek(end - _FOOTER)
    footer = io.BytesIO(file.read(_FOOTER))
    _handle(footer)  # of the blocks about blocks
    for _, handle in _block(file, *_handle(footer)):
        yield from _block(file, *_handle(io.BytesIO(handle)))


def _handle(file: BinaryIO) -> Tuple[int, int]:
    return _varint(file), _varint(file)


def _block(file: BinaryIO, offset: int, size: int) -> List[Tuple[bytes, bytes]]:
    if offset + size + _TRAILER > file.seek(0, io.SEEK_END):
        raise Malformed
    file.seek(offset)
    block = file.read(size + _TRAILER)
    if len(block) != size + _TRAILER or size < 4 or block[size] != _UNCOMPRESSED:
        raise Malformed
    restarts = struct.unpack("<I", block[size - 4 : size])[0]
    end = size - 4 * (restarts + 1)
    found, key, entries = [], b"", io.BytesIO(block[: max(0, end)])  # type: List[Tuple[bytes, bytes]], bytes, BinaryIO
    while entries.tell() < end:
        shared, rest, length = _varint(entries), _varint(entries), _varint(entries)
        key = key[:shared] + entries.read(rest)
        found.append((key, entries.read(length)))
    return found


def _varint(file: BinaryIO) -> int:
    value = integer(file, (file.tell(), 0))
    if value < 0:
        raise Malformed
    return value
