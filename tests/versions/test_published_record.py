"""The record that spares a publication to read the provenance of each version, and what it must not hide."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from ckpt2saved.errors import AlreadyPublished
from ckpt2saved.versions import PROVENANCE, parse_version, published_record, staged
from ckpt2saved.versions.provenance import read_provenance
from ckpt2saved.versions.published_checkpoints import refuse_published
from ckpt2saved.versions.published_record import PUBLISHED_RECORD
from tests.support.versions import fill, full_disk, make_version, names

ABSENT = frozenset(["f" * 64])


def provenance(letter):
    hashes = {"m.index": letter * 64, "m.data-00000-of-00001": "0" * 64}
    return {"format": 1, "checkpoint": {"name": "m", "step": 1, "sha256": hashes}}


def is_published(base, letter, **options):
    try:
        refuse_published(base, frozenset([letter * 64, "0" * 64]), **options)
    except AlreadyPublished as error:
        return str(error)[len(f"{base}: ") :].partition(",")[0]
    return None


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """So that three versions are worth a record."""
    monkeypatch.setattr(published_record, "_MOST_UNRECORDED", 3)


@pytest.fixture
def read(monkeypatch):
    """The versions whose provenance was read for the record."""
    found = []

    def reading(path):
        found.append(path.name)
        return read_provenance(path)

    monkeypatch.setattr(published_record, "read_provenance", reading)
    return found


@pytest.fixture
def recorded(base, read):
    """A base with versions 1 to 5 of the checkpoints a to e, and its record."""
    for number, letter in enumerate("abcde", start=1):
        make_version(base, str(number), provenance=provenance(letter))
    refuse_published(base, ABSENT)
    assert PUBLISHED_RECORD in names(base) and parse_version(PUBLISHED_RECORD) is None
    assert sorted(read) == ["1", "2", "3", "4", "5"]
    read.clear()
    return base


def test_recorded_versions_are_not_read_again(recorded, read):
    """Nor are a few that the record lacks worth another one."""
    assert is_published(recorded, "f") is None and read == []
    assert is_published(recorded, "b") == "version 2"
    before = (recorded / PUBLISHED_RECORD).read_bytes()
    for number, letter in ((6, "a"), (7, "7")):
        make_version(recorded, str(number), provenance=provenance(letter))
    assert is_published(recorded, "a") == "version 6"  # the newest one
    assert is_published(recorded, "f") is None
    assert read == ["7", "6", "7", "6"] and (recorded / PUBLISHED_RECORD).read_bytes() == before
    make_version(recorded, "8", provenance=provenance("8"))
    for _ in range(2):
        assert is_published(recorded, "f") is None
    assert read[4:] == ["8", "7", "6"]  # by now they are recorded


def test_few_versions_get_no_record(base):
    for number, letter in enumerate("ab", start=1):
        make_version(base, str(number), provenance=provenance(letter))
    assert is_published(base, "f") is None and is_published(base, "a") == "version 1"
    assert names(base) == ["1", "2"]


def test_a_dry_run_writes_none(base):
    for number, letter in enumerate("abcd", start=1):
        make_version(base, str(number), provenance=provenance(letter))
    assert is_published(base, "f", dry_run=True) is None
    assert names(base) == ["1", "2", "3", "4"]


def test_another_version_under_the_same_number_is_read(recorded):
    """As one that was deleted by hand and copied from elsewhere, even if it is as old."""
    before = os.stat(str(recorded / "3"))
    other = make_version(recorded.parent / "elsewhere", "3", provenance=provenance("9"))
    shutil.rmtree(str(recorded / "3"))
    shutil.copytree(str(other), str(recorded / "3"))
    os.utime(str(recorded / "3"), ns=(before.st_atime_ns, before.st_mtime_ns))
    assert is_published(recorded, "c") is None
    assert is_published(recorded, "9") == "version 3"
    shutil.rmtree(str(recorded / "2"))
    assert is_published(recorded, "b") is None  # a deleted one has nothing, unless it was pruned


def test_a_provenance_that_was_deleted_counts_no_more(recorded):
    """That is what is to be done to publish changed files again."""
    (recorded / "4" / PROVENANCE).unlink()
    assert is_published(recorded, "d") is None
    assert is_published(recorded, "c") == "version 3"


def test_a_provenance_that_was_changed_in_place_is_read(recorded, read):
    """As by an editor or a copy over it, even if it is as long and as old as before."""
    path = recorded / "4" / PROVENANCE
    before = os.stat(str(path))
    with path.open("r+", encoding="utf-8") as file:
        file.write(json.dumps(provenance("9")))
    os.utime(str(path), ns=(before.st_atime_ns, before.st_mtime_ns))
    assert os.stat(str(path)).st_size == before.st_size
    assert is_published(recorded, "d") is None and is_published(recorded, "9") == "version 4"
    assert set(read) == {"4"}


def test_a_version_that_is_being_copied_is_looked_at_again(recorded, read):
    """Its provenance may come last, in a directory that is there already."""
    (recorded / "6" / PROVENANCE).parent.mkdir(parents=True)
    for number in "789":
        make_version(recorded, number, provenance=provenance(number))
    assert is_published(recorded, "f") is None
    assert b"\n9 " in (recorded / PUBLISHED_RECORD).read_bytes()
    (recorded / "6" / PROVENANCE).write_text(json.dumps(provenance("6")), encoding="utf-8")
    assert is_published(recorded, "6") == "version 6"


@pytest.mark.parametrize(
    "damage",
    [
        lambda record: record.write_bytes(b""),
        lambda record: record.write_bytes(bytes(range(256)) + b"\n1 \n2\n3 x y z\n\n"),
        lambda record: record.write_bytes(record.read_bytes()[: len(record.read_bytes()) // 2]),
        lambda record: record.write_bytes(record.read_bytes()[:-20]),
        lambda record: record.write_bytes(record.read_bytes().replace(b"b" * 64, b"a" * 64)),
        lambda record: os.truncate(str(record), (1 << 26) + 1),
        lambda record: (record.unlink(), record.mkdir()),
        lambda record: (record.unlink(), os.mkfifo(str(record))),
        lambda record: (record.unlink(), record.symlink_to("/dev/zero")),
    ],
    ids=["empty", "noise", "half", "cut", "changed", "too-large", "directory", "pipe", "device"],
)
def test_a_damaged_record_hides_no_version(recorded, damage):
    """At worst a version is read again; what says that it has a checkpoint is always its provenance."""
    damage(recorded / PUBLISHED_RECORD)
    for number, letter in enumerate("bcde", start=2):
        assert is_published(recorded, letter) == f"version {number}"
    assert is_published(recorded, "f") is None
    assert is_published(recorded, "f") is None


def test_a_record_that_cannot_be_written_prevents_nothing(base, monkeypatch):
    """As on a full disk."""
    for number, letter in enumerate("abcd", start=1):
        make_version(base, str(number), provenance=provenance(letter))
    monkeypatch.setattr(published_record, "replace_file", full_disk)
    assert is_published(base, "f") is None and is_published(base, "a") == "version 1"
    assert names(base) == ["1", "2", "3", "4"]


def test_the_record_does_not_outlive_its_versions(recorded):
    for number in "123":
        shutil.rmtree(str(recorded / number))
    assert is_published(recorded, "f") is None
    lines = (recorded / PUBLISHED_RECORD).read_text("ascii").splitlines()
    assert [line.split(" ")[0] for line in lines[1:]] == ["#", "4", "5"]


@pytest.mark.parametrize("value", ["A" * 64, "a" * 63, "a\n1 2 3 4 b", "a,b", "\u00e4"])
def test_what_would_not_fit_into_a_line_is_read_each_time(recorded, read, value):
    """No export writes that, and a stranger's version must not write other lines."""
    content = {"checkpoint": {"sha256": {"m.index": value}}}
    for name in ("6", " 7", "\n8", "9", "10"):
        make_version(recorded, name, provenance=content if name == "6" else provenance(name.strip()[0]))
    for _ in range(2):
        assert is_published(recorded, "f") is None
        with pytest.raises(AlreadyPublished, match="version 6"):
            refuse_published(recorded, frozenset([value]))
        assert is_published(recorded, "7") == "version  7"
    lines = (recorded / PUBLISHED_RECORD).read_text("ascii").splitlines()[2:]
    assert all(len(line.split(" ")) == 6 and parse_version(line.split(" ")[0]) for line in lines)


def test_what_a_killed_publication_left_of_it_is_removed(base):
    """By the next one, however many versions there are."""
    make_version(base, "1")
    (base / f".{PUBLISHED_RECORD}-0123456789abcdef").write_bytes(b"x")
    with staged(base) as stage:
        fill(stage.path)
        stage.publish()
    assert names(base) == ["1", "2"]
