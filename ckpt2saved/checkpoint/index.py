"""The index of a V2 checkpoint or of a SavedModel's variables, read without TensorFlow."""

from __future__ import annotations

import functools
import struct
from dataclasses import dataclass
from typing import Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from ckpt2saved.checkpoint.files import TABLE_FOOTER, TABLE_MAGIC, CheckpointFiles
from ckpt2saved.files.protobuf.crc32c import crc32c, masked
from ckpt2saved.files.protobuf.data_types import number_of
from ckpt2saved.files.protobuf.messages import decode
from ckpt2saved.files.protobuf.tensorflow_messages import BundleHeader, TensorShape, TensorSlice
from ckpt2saved.files.protobuf.wire import Malformed, of_bytes, varint
from ckpt2saved.files.reading import PathLike, open_file, size_of

# The format is LevelDB's: tensorflow/core/lib/io/format.cc and table_builder.cc.
_TRAILER_SIZE = 5  # of a block: how it is compressed, and the checksum of both
_MOST_BYTES = 1 << 30  # of an index; a tensor takes some 50
# Bytes of all names. A name repeats the beginning of the one before it by a number, so that 100 KB may stand for 10 GB.
_MOST_OF_NAMES = 1 << 28
_MOST_AXES = 254  # of TensorFlow
_SMALL = 1 << 18  # bytes of an index that is remembered

# Fields of BundleEntryProto.
_DTYPE, _SHAPE, _SHARD, _OFFSET, _SIZE, _CHECKSUM, _SLICES = 1, 2, 3, 4, 5, 6, 7

STRING, VARIANT, RESOURCE = (number_of(name) for name in ("string", "variant", "resource"))


class Damaged(Exception):
    """The file is not a complete index; the text gives the reason without the file's name."""


class NotRead(Exception):
    """The index has a form that TensorFlow might read, but this module does not."""


class Entry(NamedTuple):
    """A tensor, or a slice of a partitioned one, in the data files."""

    data_type: int  # TensorFlow's DataType, a reference's as that of its value
    shape: Optional[Tuple[int, ...]]  # of the whole tensor, -1 for an open size; None where the rank is unknown
    shard: int  # number of the data file
    offset: int  # bytes
    size: int  # bytes
    checksum: int  # masked
    slices: Tuple[str, ...]  # those stored, in RestoreV2's format: sizes of the tensor, then start,size for each axis

    @property
    def is_partitioned(self) -> bool:
        """Return whether the tensor's data is in entries for its slices."""
        return bool(self.slices)


@dataclass(frozen=True)
class Index:
    """Tensors by name; slices of partitioned tensors by the bytes that encode name and slice."""

    shards: int
    is_big_endian: bool
    entries: Mapping[bytes, Entry]

    def entry(self, name: str) -> Optional[Entry]:
        """Return the tensor's entry; None if missing."""
        return self.entries.get(name.encode("utf-8", "surrogateescape"))


def index_of(files: CheckpointFiles) -> Index:
    """Return the index of a checkpoint; without entries if it can't be read (V1, compressed or damaged)."""
    try:
        return Index(0, False, {}) if files.is_v1 else read_index(files.prefix.with_name(files.name + ".index"))
    except (OSError, Damaged, NotRead):
        return Index(0, False, {})


def is_cut_off(files: CheckpointFiles, entries: Iterable[Entry]) -> bool:
    """Return whether a data file ends before the end of one of these tensors."""
    sizes = [shard.stat().st_size for shard in files.files[1:]]
    stored = (entry for entry in entries if not entry.is_partitioned and entry.shard < len(sizes))
    return any(entry.offset + entry.size > sizes[entry.shard] for entry in stored)


def read_index(path: PathLike) -> Index:
    """Read a complete index; raises Damaged, NotRead, or OSError if the file can't be read."""
    with open_file(path, _MOST_BYTES) as file:
        size = size_of(file)
        content = file.read(size)
    return _parsed_again(content) if size <= _SMALL else parse_index(content)


@functools.lru_cache(maxsize=64)
def _parsed_again(content: bytes) -> Index:
    """Return a cached index for equal content, since republished versions share it."""
    return parse_index(content)


def parse_index(content: bytes) -> Index:
    """Parse the content of an index file; raises Damaged or NotRead."""
    if not content:
        raise Damaged("empty")
    if len(content) < TABLE_FOOTER:
        raise Damaged(f"truncated to {len(content)} bytes; copy the complete file again")
    if content[-len(TABLE_MAGIC) :] != TABLE_MAGIC:
        raise Damaged("truncated, or no checkpoint index: its last 8 bytes are not a table's")
    shards, is_big_endian = 0, False
    entries: Dict[bytes, Entry] = {}
    try:
        for key, value in _pairs(content):
            if key:
                entries[key] = _entry(value)
            else:
                shards, is_big_endian = _header(value)
    except (Malformed, IndexError, struct.error):
        raise Damaged("damaged: its block offsets are inconsistent; copy the complete file again") from None
    if not shards:
        raise Damaged("damaged: the number of data files is missing; copy the complete file again")
    return Index(shards, is_big_endian, entries)


def _pairs(content: bytes) -> Iterator[Tuple[bytes, bytes]]:
    footer = content[-TABLE_FOOTER:]
    _, at = _handle(footer, 0)  # of the meta index, which TensorFlow does not write
    index, _ = _handle(footer, at)
    written, names = 0, 0
    for _, where in _block(content, index):
        span, _ = _handle(where, 0)
        if span[0] < written:
            raise Malformed  # blocks follow each other; of many that are one and the same, reading would not end
        written = span[1]
        for key, value in _block(content, span):
            names += len(key)
            if names > _MOST_OF_NAMES:
                raise NotRead(f"its names take more than {_MOST_OF_NAMES >> 20} MB")
            yield key, value


def _handle(data: bytes, at: int) -> Tuple[Tuple[int, int], int]:
    offset, at = varint(data, at)
    size, at = varint(data, at)
    return (offset, offset + size), at


def _block(content: bytes, span: Tuple[int, int]) -> Iterator[Tuple[bytes, bytes]]:
    start, end = span
    if end + _TRAILER_SIZE > len(content) - TABLE_FOOTER:
        raise Malformed
    if content[end] != 0:
        raise NotRead("compressed")
    (checksum,) = struct.unpack_from("<I", content, end + 1)
    if masked(crc32c(content[start : end + 1])) != checksum:
        raise Damaged("damaged: a checksum does not match; copy the complete file again")
    block = content[start:end]
    (restarts,) = struct.unpack_from("<I", block, len(block) - 4)
    limit = len(block) - 4 * (restarts + 1)
    if limit < 0:
        raise Malformed
    key, at = b"", 0
    while at < limit:
        shared, at = varint(block, at)
        unshared, at = varint(block, at)
        length, at = varint(block, at)
        if shared > len(key) or at + unshared + length > limit:
            raise Malformed
        key = key[:shared] + block[at : at + unshared]
        at += unshared
        yield key, block[at : at + length]
        at += length


def _header(value: bytes) -> Tuple[int, bool]:
    header = decode(BundleHeader, of_bytes(value))
    return header.num_shards, header.endianness == 1


def _entry(value: bytes) -> Entry:
    # Parsed by hand for speed: listing versions reads many indexes.
    numbers = {_DTYPE: 0, _SHARD: 0, _OFFSET: 0, _SIZE: 0}
    shape_proto, checksum, at = b"", 0, 0
    slices: List[bytes] = []
    while at < len(value):
        key, at = varint(value, at)
        number, wire_type = key >> 3, key & 7
        if wire_type == 0:
            numbers[number], at = varint(value, at)
        elif wire_type == 2:
            length, at = varint(value, at)
            if number == _SHAPE:
                shape_proto = value[at : at + length]
            elif number == _SLICES:
                slices.append(value[at : at + length])
            at += length
        elif wire_type == 5:
            if number == _CHECKSUM:
                (checksum,) = struct.unpack_from("<I", value, at)
            at += 4
        elif wire_type == 1:
            at += 8
        else:
            raise Malformed
    shard, offset, size = (numbers[number] for number in (_SHARD, _OFFSET, _SIZE))
    if at > len(value) or max(shard, offset, size) >= 1 << 63:
        raise Malformed
    shape = _shape(shape_proto)
    if shape is not None and len(shape) > _MOST_AXES:
        raise Malformed
    specs = tuple(_slice_spec(shape or (), one) for one in slices)
    return Entry(numbers[_DTYPE] % 100, shape, shard, offset, size, checksum, specs)


@functools.lru_cache(maxsize=1024)
def _shape(shape_proto: bytes) -> Optional[Tuple[int, ...]]:
    """Decode a shape; cached, since many tensors share one."""
    return decode(TensorShape, of_bytes(shape_proto)).sizes


def _slice_spec(shape: Tuple[int, ...], slice_proto: bytes) -> str:
    extents = decode(TensorSlice, of_bytes(slice_proto)).extent
    parts = ["-" if one.length is None else f"{one.start},{one.length}" for one in extents]
    return f"{' '.join(map(str, shape))} {':'.join(parts)}"
