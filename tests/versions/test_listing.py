"""The versions of a base directory, newest first."""

from __future__ import annotations

import os
import shutil

import pytest

from ckpt2saved.errors import VersionError
from ckpt2saved.errors.problem import texts
from ckpt2saved.versions import (
    PROVENANCE,
    Origin,
    bump_version,
    list_versions,
    prune_versions,
)
from ckpt2saved.versions.health import Health
from tests.support.versions import (
    INDEX,
    NOW,
    PUBLISHED,
    VALUES,
    WHOLE_SIZE,
    make_broken,
    make_version,
    publish,
)


def test_versions_are_listed_newest_first_with_where_they_come_from(base, tmp_path):
    """The origin is what the version says; somebody else's says nothing."""
    publish(base, 9, provenance=PUBLISHED)
    make_version(base, "10")
    bump_version(base, 9)
    bump_version(base, make_version(tmp_path, "elsewhere"))
    listed = list_versions(base)

    assert [(version.number, version.name, version.path) for version in listed] == [
        (number, str(number), base / str(number)) for number in (12, 11, 10, 9)
    ]
    assert [version.origin for version in listed] == [
        Origin(republished_from=str(tmp_path / "elsewhere")),
        Origin(checkpoint="crnn-100000", step=100000, republished_from=9),
        None,
        Origin(checkpoint="crnn-100000", step=100000),
    ]
    assert all(version.is_complete and version.duplicate_of is None for version in listed)


def test_size_and_time_are_those_of_the_files(base):
    """In bytes, and in UTC."""
    directory = make_version(base, "1")
    os.utime(str(directory), (NOW.timestamp(), NOW.timestamp()))
    (listed,) = list_versions(base)

    assert listed.size == WHOLE_SIZE
    assert listed.modified == NOW


def test_what_tf_serving_would_try_and_fail_to_load_is_listed_with_the_reason(base):
    """Files, dangling links and negative numbers too."""
    make_version(base, "-1")
    make_broken(base, "2")
    (base / "3").write_bytes(b"1234")
    (base / "4").symlink_to("gone")

    assert [(version.name, tuple(texts(version.problems)), version.size) for version in list_versions(base)] == [
        ("4", ("a symbolic link to gone, which is no directory",), 0),
        ("3", ("not a directory",), 4),
        ("2", ("saved_model.pb: missing; TF Serving has nothing to load",), len(INDEX + VALUES)),
        ("-1", ("the number is negative, which TF Serving does not load",), WHOLE_SIZE),
    ]


def test_a_second_directory_with_the_same_number_is_marked(base):
    """TF Serving loads 1 and ignores 01."""
    for name in ("01", "1", "+1", "02"):
        make_version(base, name)

    assert [(version.name, version.duplicate_of) for version in list_versions(base)] == [
        ("02", None),
        ("1", None),
        ("01", "1"),
        ("+1", "1"),
    ]


@pytest.mark.parametrize(
    "content",
    [b"{", b"\xff", b"[]", b"7", b'{"checkpoint": "x"}', b'{"checkpoint": {"name": 1, "step": "2"}}', b"[" * 100000],
    ids=["no-json", "no-utf8", "list", "number", "no-section", "other-types", "deep"],
)
def test_a_provenance_that_cannot_be_read_is_no_error(base, content):
    """It is for people to read; nothing depends on it."""
    directory = make_version(base, "1", provenance={})
    (directory / PROVENANCE).write_bytes(content)
    (listed,) = list_versions(base)

    assert listed.origin in (None, Origin())
    assert listed.is_complete


def test_a_version_that_vanishes_while_it_is_listed_is_left_out(base, monkeypatch):
    """Somebody prunes at the same time."""
    make_version(base, "1")
    make_version(base, "2")
    nothing = Health((), 0)
    monkeypatch.setattr(
        "ckpt2saved.versions.listing.health", lambda path, data: shutil.rmtree(str(base / "1"), True) or nothing
    )

    assert [version.number for version in list_versions(base)] == [2]


@pytest.mark.parametrize("command", [list_versions, prune_versions])
def test_commands_about_versions_need_a_base(base, command):
    """A mistyped directory is no empty one, and is not created."""
    with pytest.raises(VersionError, match="there is no such directory"):
        command(base)

    assert not base.exists()


def test_an_empty_base_has_no_versions(base):
    """And nothing to prune."""
    base.mkdir()

    assert list_versions(base) == prune_versions(base) == ()
