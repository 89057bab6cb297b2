"""Indexes of checkpoints that stand for more than they hold: refused before memory or time is taken."""

from __future__ import annotations

import time

import pytest

from ckpt2saved.checkpoint.index import Damaged, NotRead, parse_index
from ckpt2saved.files.protobuf.wire import written
from tests.support.index_tables import entry, index_table

HEADER = entry(b"", written(1, 1))
VALUE = written(1, 1) + written(5, 4)  # four bytes


def damaged(content):
    start = time.process_time()
    with pytest.raises(Damaged, match="its block offsets are inconsistent"):
        parse_index(content)
    assert time.process_time() - start < 20


def test_a_table_of_several_blocks_is_read():
    """With names that begin as the one before."""
    content = index_table(HEADER + entry(b"a/b", VALUE) + entry(b"c", VALUE, shared=2), entry(b"d", VALUE))
    index = parse_index(content)
    assert list(index.entries) == [b"a/b", b"a/c", b"d"] and index.shards == 1 and index.entries[b"d"].size == 4


def test_blocks_are_read_once():
    """A megabyte that is listed a million times would be a terabyte."""
    damaged(index_table(HEADER + entry(b"a" * (1 << 20), VALUE), times=100000))


def test_names_that_repeat_a_long_one():
    """Each takes six bytes of the file, and a megabyte of memory."""
    names = entry(b"a" * (1 << 20), VALUE) + b"".join(
        entry(bytes([65 + n % 26]), VALUE, shared=1 << 20) for n in range(20000)
    )
    with pytest.raises(NotRead, match="its names take more than 256 MB"):
        parse_index(index_table(HEADER + names))


def test_a_tensor_of_more_axes_than_there_are():
    """Each slice would be described with all of them."""
    shape = b"".join(written(2, written(1, 7)) for _ in range(100000))
    slices = b"".join(written(7, b"") for _ in range(100000))
    damaged(index_table(HEADER + entry(b"a", VALUE + written(2, shape) + slices)))
