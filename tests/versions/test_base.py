"""Which names are versions, and what can be a base directory."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ckpt2saved.errors import VersionError
from ckpt2saved.versions import (
    LARGEST_VERSION,
    check_base,
    next_version,
    numbered_children,
    parse_version,
)
from tests.support.versions import (
    GRAPH,
    as_nobody,
    make_version,
)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("1", 1),
        ("007", 7),
        ("00000123", 123),
        ("+5", 5),
        ("-1", -1),
        ("-0", 0),
        ("0", 0),
        (" 5", 5),
        ("5 ", 5),
        ("5\n", 5),
        ("\t5\v\f\r", 5),
        ("9223372036854775807", LARGEST_VERSION),
        ("-9223372036854775808", -LARGEST_VERSION - 1),
        ("0" * 200 + "12", 12),
        ("0" * 200, 0),
        ("9223372036854775808", None),
        ("-9223372036854775809", None),
        ("9" * 5000, None),
        ("1_0", None),
        ("0x10", None),
        ("1e3", None),
        ("1.0", None),
        ("1,000", None),
        ("+", None),
        ("+-5", None),
        ("- 5", None),
        ("5 5", None),
        ("", None),
        (" ", None),
        ("v1", None),
        (".staging-3", None),
        (".pruned-3", None),
        ("٣", None),
        ("５", None),
        ("\u00a05", None),
        ("123.tmp", None),
    ],
)
def test_a_name_is_the_number_that_tf_serving_reads(name, number):
    """Names parse as absl::SimpleAtoi parses them."""
    assert parse_version(name) == number


def test_everything_with_a_number_for_a_name_counts(base):
    """Files, dangling links, leading zeros and negatives are children; the one that is loaded is last of its number."""
    base.mkdir()
    for name in ("01", "1", "-4", ".staging-9", "v12"):
        (base / name).mkdir()
    (base / "7").write_bytes(b"")
    (base / "0012").symlink_to("nowhere")

    assert [(child.number, child.path.name) for child in numbered_children(base)] == [
        (-4, "-4"),
        (1, "01"),
        (1, "1"),
        (7, "7"),
        (12, "0012"),
    ]


@pytest.mark.parametrize(
    ("existing", "number"),
    [([], 1), (["1"], 2), (["9", "10"], 11), (["007"], 8), (["+5"], 6), (["-3"], 1), (["0"], 1), (["v8", ".9"], 1)],
)
def test_the_next_number_follows_the_largest(base, existing, number):
    """Gaps are not filled, and the first is 1."""
    for name in existing:
        (base / name).mkdir(parents=True)

    assert next_version(base) == number


def test_files_and_dangling_links_take_numbers_too(base):
    """TF Serving tries to load them all, so their numbers are used up."""
    base.mkdir()
    (base / "3").write_bytes(b"")
    assert next_version(base) == 4
    (base / "08").symlink_to("nowhere")
    assert next_version(base) == 9


def test_a_higher_number_may_be_asked_for(base):
    """A step of the training, say."""
    (base / "7").mkdir(parents=True)

    assert next_version(base, 100000) == 100000
    assert next_version(base.parent / "absent", LARGEST_VERSION) == LARGEST_VERSION


@pytest.mark.parametrize("requested", [1, 6, 7])
def test_a_number_that_is_not_above_all_is_refused(base, requested):
    """Not even one that is free: TF Serving would not load it."""
    (base / "007").mkdir(parents=True)

    with pytest.raises(VersionError) as error:
        next_version(base, requested)

    assert str(error.value) == (
        f"{base}: version {requested} can't be published, as {base}/007 is there already and numbers only grow; "
        "ask for 8 or more, or for no number at all"
    )


@pytest.mark.parametrize("requested", [0, -1, LARGEST_VERSION + 1])
def test_what_can_be_no_number_is_refused(base, requested):
    """TF Serving reads 64 bits, and no negative."""
    with pytest.raises(VersionError) as error:
        next_version(base, requested)

    assert str(error.value) == f"{base}: {requested} can't be a version number; expected 1 to 9223372036854775807"


@pytest.mark.parametrize("requested", [None, LARGEST_VERSION])
def test_nothing_follows_the_largest_number(base, requested):
    """The way out is another base directory."""
    (base / str(LARGEST_VERSION)).mkdir(parents=True)

    with pytest.raises(VersionError) as error:
        next_version(base, requested)

    assert str(error.value) == (
        f"{base}/9223372036854775807: its number is the largest that TF Serving reads, so that no version can follow it; "
        "publish under another base directory"
    )


def test_a_base_may_be_absent_for_writing_only(base):
    """An export creates it; a listing has nothing to list."""
    check_base(base)
    assert not base.exists()

    with pytest.raises(VersionError) as error:
        check_base(base, reading=True)
    assert str(error.value) == (f"{base}: there is no such directory; expected the base directory of a model")


@pytest.mark.parametrize("reading", [False, True])
def test_a_file_is_no_base(base, reading):
    """Nor is a link that leads nowhere."""
    base.write_bytes(b"")
    expected = f"{base}: not a directory; expected the base directory of a model"
    with pytest.raises(VersionError) as error:
        check_base(base, reading)
    assert str(error.value) == expected

    base.unlink()
    base.symlink_to("nowhere")
    with pytest.raises(VersionError) as error:
        check_base(base, reading)
    assert str(error.value) == expected


def test_a_file_above_the_base_is_named(base):
    """It is what the user has to look at."""
    base.write_bytes(b"")

    with pytest.raises(VersionError) as error:
        check_base(base / "models" / "a")

    assert str(error.value) == f"{base}/models/a: can't be created, as {base} is not a directory"


@pytest.mark.parametrize("file", ["saved_model.pb", "saved_model.pbtxt"])
@pytest.mark.parametrize("name", ["7", "exported"])
@pytest.mark.parametrize("reading", [False, True])
def test_a_saved_model_is_no_base(base, name, file, reading):
    """A version inside a version is never found."""
    directory = base / name
    directory.mkdir(parents=True)
    (directory / file).write_bytes(GRAPH)

    with pytest.raises(VersionError) as error:
        check_base(directory, reading)

    remedy = (
        f"pass its parent, {base}"
        if name == "7"
        else f"take it in with ckpt2saved bump-version BASE --from {directory}"
    )
    assert str(error.value) == (
        f"{directory}: this is a SavedModel (it holds {file}), not the base directory of a model; {remedy}"
    )


@pytest.mark.parametrize("exists", [False, True], ids=["absent", "empty"])
def test_a_number_is_no_name_for_a_base(base, exists):
    """Who writes models/crnn/7 means the version, and TF Serving would take it for one."""
    if exists:
        (base / "7").mkdir(parents=True)

    with pytest.raises(VersionError) as error:
        check_base(base / "7")

    assert str(error.value) == (
        f"{base}/7: its name is a version number, and it has no versions; expected the base directory, {base}"
    )


def test_a_model_called_2024_is_a_base_once_it_has_versions(base):
    """Its name is its owner's affair."""
    make_version(base / "2024", "1")

    assert next_version(base / "2024") == 2
    check_base(base / "2024")


def test_the_current_directory_is_judged_by_its_name(base, monkeypatch):
    """A dot has none, and no parent that could be named in the message."""
    directory = make_version(base, "7")
    monkeypatch.chdir(directory)

    with pytest.raises(VersionError, match=f"pass its parent, {base}$"):
        check_base(".")


@pytest.mark.parametrize("kind", [str, Path], ids=["text", "path"])
@pytest.mark.parametrize("url", ["s3://bucket/crnn", "gs://bucket/crnn", "hdfs://host:9000/crnn", "file:///crnn"])
def test_an_address_is_no_base(url, kind):
    """Commands look for an object store first; a Path has lost a slash of its URL."""
    with pytest.raises(VersionError) as error:
        check_base(kind(url))

    assert str(error.value) == (
        f"{kind(url)}: not a local directory; expected a path, or the URL of an object store as text, with two slashes: "
        "s3://BUCKET/models/crnn"
    )


def test_a_base_that_may_not_be_written_is_refused_at_once(nobodys):
    """An hour of export must not come first."""
    (nobodys / "crnn").mkdir()
    (nobodys / "crnn").chmod(0o755)
    with as_nobody():
        check_base(nobodys / "crnn", reading=True)
        with pytest.raises(VersionError) as error:
            check_base(nobodys / "crnn")
        with pytest.raises(VersionError) as absent:
            check_base(nobodys / "new" / "model")

    advice = "run as one who may, have it opened for this one, or publish elsewhere"
    assert str(error.value) == f"{nobodys}/crnn: this user may not write to the directory; {advice}"
    assert str(absent.value) == f"{nobodys}/new/model: this user may not write to {nobodys}; {advice}"


def test_a_failing_disk_is_no_missing_right(base, monkeypatch):
    """The error is told in place of a right that this user has."""
    base.mkdir()
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    opened = os.open

    def stale(path, *arguments, **options):
        if os.fspath(path) == str(base):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), os.fspath(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(os, "open", stale)
    with pytest.raises(VersionError, match="could not look at the base directory: Stale file handle"):
        check_base(base)


def test_a_base_that_cannot_be_looked_at_is_said_so(tmp_path, monkeypatch):
    """A disk or a server of files that fails: where, why, and no traceback."""

    def fail(path):
        raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    monkeypatch.setattr(os, "statvfs", fail)
    with pytest.raises(VersionError, match=f"{tmp_path}: could not look at the base directory: Input/output error"):
        check_base(tmp_path)


@pytest.mark.parametrize("call", ["statvfs", "access", "open"])
def test_a_base_that_is_removed_while_it_is_looked_at(base, monkeypatch, call):
    """By an exporter that has created it, and failed: it is created again, wherever that happens."""
    base.mkdir()
    real = getattr(os, call)

    def removing(path, *arguments, **options):
        if os.fspath(path) == str(base):
            monkeypatch.undo()
            base.rmdir()
        return real(path, *arguments, **options)

    if call == "open":
        monkeypatch.setattr(os, "access", lambda path, *_, **__: os.fspath(path) != str(base))
    monkeypatch.setattr(os, call, removing)
    monkeypatch.setattr(os, "supports_effective_ids", {os.access})
    check_base(base)
    assert not base.exists()
