"""The numbered directories, with real files, real processes and real kills; no TensorFlow."""

from __future__ import annotations

import datetime
import errno
import fcntl
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path

import pytest

from ckpt2saved.errors import VersionError
from ckpt2saved.versions import (
    LARGEST_VERSION,
    PROVENANCE,
    Origin,
    bump_version,
    check_base,
    copy_version,
    list_versions,
    next_version,
    numbered_children,
    parse_version,
    prune_versions,
    read_provenance,
    rename,
    stage,
    staged,
    write_provenance,
)
from ckpt2saved.versions.health import Health, health

ROOT = Path(__file__).resolve().parent.parent
# A SavedModel of TensorFlow 1.14: x [?, 2] times a variable [2, 3]; and the same with a constant.
SAVED, FROZEN = ROOT / "tests" / "saved_models" / "variable", ROOT / "tests" / "saved_models" / "frozen"
GRAPH, FROZEN_GRAPH = ((directory / "saved_model.pb").read_bytes() for directory in (SAVED, FROZEN))
INDEX = (SAVED / "variables" / "variables.index").read_bytes()
VALUES = (SAVED / "variables" / "variables.data-00000-of-00001").read_bytes()
WHOLE_SIZE = len(GRAPH + INDEX + VALUES)
NOW = datetime.datetime(2024, 5, 6, 7, 8, 9, tzinfo=datetime.timezone.utc)


def fill(directory, *, provenance=None, more=0):
    """Write a SavedModel into an existing directory, with `more` bytes of data that no variable has."""
    (directory / "variables").mkdir()
    (directory / "saved_model.pb").write_bytes(GRAPH)
    (directory / "variables" / "variables.index").write_bytes(INDEX)
    (directory / "variables" / "variables.data-00000-of-00001").write_bytes(VALUES + b"w" * more)
    if provenance is not None:
        (directory / PROVENANCE).parent.mkdir()
        (directory / PROVENANCE).write_text(json.dumps(provenance), encoding="utf-8")


def make_version(base, name, *, provenance=None):
    """A whole version as somebody else's tool would have left it, with modes that any server can read."""
    directory = base / name
    directory.mkdir(parents=True)
    fill(directory, provenance=provenance)
    open_to_all(directory)
    return directory


def open_to_all(directory):
    for path in [directory] + list(directory.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def make_broken(base, name):
    directory = make_version(base, name)
    (directory / "saved_model.pb").unlink()
    return directory


def publish(base, requested=None, *, provenance=None):
    with staged(base, requested) as staging:
        fill(staging.path, provenance={"format": 1} if provenance is None else provenance)
        return staging.publish()


def names(directory):
    return sorted(os.listdir(str(directory)))


def mode(path):
    return stat.S_IMODE(os.stat(str(path)).st_mode)


@pytest.fixture
def base(tmp_path):
    return tmp_path / "crnn"


@pytest.fixture
def no_flock(monkeypatch):
    """A file system that has no locks, as some NFS."""

    def refuse(descriptor, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.fixture
def nobodys(request):
    """A directory that only root may write to, entered as a user who is not root."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user; run as root to test what others may not do")
    directory = Path(tempfile.mkdtemp())  # not tmp_path: pytest keeps that from other users
    directory.chmod(0o755)
    request.addfinalizer(lambda: shutil.rmtree(str(directory)))
    return directory


class as_nobody:
    """Do the block with the rights of an ordinary user."""

    def __enter__(self):
        os.setegid(65534)
        os.seteuid(65534)

    def __exit__(self, *error):
        os.seteuid(0)
        os.setegid(0)


# --- names and numbers -------------------------------------------------------------------------------------------


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

    assert (
        str(error.value) == f"{base}: {requested} can't be the number of a version; expected 1 to 9223372036854775807"
    )


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


# --- the base ----------------------------------------------------------------------------------------------------


def test_a_base_may_be_absent_for_writing_only(base):
    """An export creates it; a listing has nothing to list."""
    check_base(base)
    assert not base.exists()

    with pytest.raises(VersionError) as error:
        check_base(base, reading=True)
    assert str(error.value) == (
        f"{base}: there is no such directory; expected the one that holds the numbered versions of a model"
    )


@pytest.mark.parametrize("reading", [False, True])
def test_a_file_is_no_base(base, reading):
    """Nor is a link that leads nowhere."""
    base.write_bytes(b"")
    expected = f"{base}: not a directory; expected the directory that holds the numbered versions of one model"
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

    assert str(error.value) == (
        f"{directory}: this is a SavedModel (it holds {file}), not the directory of a model's versions; pass its parent, {base}"
    )


@pytest.mark.parametrize("exists", [False, True], ids=["absent", "empty"])
def test_a_number_is_no_name_for_a_base(base, exists):
    """Who writes models/crnn/7 means the version, and TF Serving would take it for one."""
    if exists:
        (base / "7").mkdir(parents=True)

    with pytest.raises(VersionError) as error:
        check_base(base / "7")

    assert str(error.value) == (
        f"{base}/7: its name is a version's number, and it holds no versions itself; "
        f"expected the directory above, {base}"
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
    """Nothing there is renamed in one step."""
    with pytest.raises(VersionError) as error:
        check_base(kind(url))

    assert str(error.value) == (
        f"{kind(url)}: not a local directory, and a version can't appear in one step anywhere else; publish under a local "
        "directory, then copy the version to its place with saved_model.pb last"
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


# --- stage and publish -------------------------------------------------------------------------------------------


def test_a_stage_is_invisible_to_tf_serving_and_becomes_the_next_version(base):
    """Nothing of it has a number before, and nothing but the version is left after."""
    with staged(base) as staging:
        assert names(base) == [staging.path.name]
        assert staging.path.name.startswith(".staging-")
        assert parse_version(staging.path.name) is None
        assert names(staging.path) == []
        fill(staging.path)
        path = staging.publish()

    assert path == staging.published == base / "1"
    assert names(base) == ["1"]
    assert names(path) == ["saved_model.pb", "variables"]
    assert publish(base) == base / "2"
    assert publish(base, 40) == base / "40"
    assert publish(base) == base / "41"


def test_modes_do_not_depend_on_the_umask(base):
    """The server is another user: the base that is created, the stage and the version are open to it."""
    before = os.umask(0o077)
    try:
        with staged(base / "nested") as staging:
            assert mode(staging.path) == 0o755
            fill(staging.path)
            (staging.path / "saved_model.pb").chmod(0o666)
            path = staging.publish()
    finally:
        os.umask(before)

    assert {mode(directory) for directory in (base, base / "nested", path, path / "variables")} == {0o755}
    assert {mode(file) for file in path.rglob("*") if file.is_file()} == {0o644}
    assert health(path).problems == ()


def test_everything_is_on_disk_before_it_is_visible(base, monkeypatch):
    """Files before their directories, all of them before the rename, the base after it."""
    steps = []
    real_sync, real_rename = os.fsync, stage.rename_new

    def sync(descriptor):
        steps.append(os.path.realpath(f"/proc/self/fd/{descriptor}"))
        real_sync(descriptor)

    def rename_new(source, target):
        steps.append("rename")
        real_rename(source, target)

    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("needs Linux's /proc to tell which file a descriptor is")
    base.mkdir()
    with staged(base) as staging:
        fill(staging.path)
        monkeypatch.setattr(os, "fsync", sync)
        monkeypatch.setattr(stage, "rename_new", rename_new)
        staging.publish()

    parts = ["saved_model.pb", "variables", "variables/variables.index", "variables/variables.data-00000-of-00001"]
    root, inside = str(staging.path), {str(staging.path / part) for part in parts}
    assert set(steps[:4]) == inside and steps[4:] == [root, "rename", str(base)]
    assert steps.index(root + "/variables") > max(steps.index(root + "/" + part) for part in parts[2:])


def test_a_version_that_could_not_be_loaded_is_not_published(base):
    """The last look at the staged files, whatever their writer believes."""
    with pytest.raises(VersionError) as error, staged(base) as staging:
        fill(staging.path)
        (staging.path / "variables" / "variables.index").unlink()
        staging.publish()

    assert str(error.value) == (
        f"{base}: nothing was published, as TF Serving could not load what was staged\n"
        "  - variables/variables.index: missing; TF Serving would load the version without a value in any "
        "variable"
    )
    assert not base.exists()


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir], ids=["file", "directory"])
def test_a_link_in_a_stage_is_refused_and_what_it_leads_to_is_left_alone(base, tmp_path, make):
    """A version must be whole in itself, and its modes are set with chmod, which follows links."""
    secret = tmp_path / "secret"
    make(secret)
    secret.chmod(0o600)

    with pytest.raises(VersionError, match="charset.txt: neither a file nor a directory"), staged(base) as staging:
        fill(staging.path)
        (staging.path / "charset.txt").symlink_to(secret)
        staging.publish()

    assert mode(secret) == 0o600
    assert not base.exists()


@pytest.mark.parametrize(
    "failure", [RuntimeError, KeyboardInterrupt, SystemExit, VersionError], ids=lambda failure: failure.__name__
)
def test_a_failure_leaves_nothing(tmp_path, failure):
    """Not even the directories that were created for it, nor is the failure itself hidden."""
    with pytest.raises(failure), staged(tmp_path / "models" / "crnn") as staging:
        fill(staging.path)
        raise failure("why")

    assert names(tmp_path) == []


def test_a_failure_leaves_what_was_there(base):
    """A base that existed stays, empty or not."""
    base.mkdir()
    with pytest.raises(RuntimeError), staged(base / "new"):
        raise RuntimeError
    assert names(base) == []

    publish(base)
    with pytest.raises(RuntimeError), staged(base):
        raise RuntimeError
    assert names(base) == ["1"]


def test_without_publish_nothing_is_published(base):
    """Leaving the block is no consent."""
    with staged(base) as staging:
        fill(staging.path)

    assert not base.exists()


def test_a_failure_after_publishing_does_not_take_it_back(base):
    """TF Serving may have loaded it by then."""
    with pytest.raises(RuntimeError), staged(base) as staging:
        fill(staging.path)
        staging.publish()
        raise RuntimeError

    assert names(base) == ["1"]


def test_a_number_that_is_taken_is_refused_before_the_work(base):
    """Nothing is staged for it."""
    publish(base, 7)

    with pytest.raises(VersionError, match="ask for 8 or more"), staged(base, 7):
        pytest.fail("the block was entered")

    assert names(base) == ["7"]


def test_a_number_that_is_overtaken_during_the_work_is_refused(base):
    """Somebody published 12 while 10 was on its way."""
    with pytest.raises(VersionError, match="version 10 can't be published.*/12 is there already.*ask for 13"):
        with staged(base, 10) as staging:
            fill(staging.path)
            publish(base, 12)
            staging.publish()

    assert names(base) == ["12"]


def test_an_automatic_number_is_chosen_when_publishing(base):
    """Two at work at once get two numbers, and the later one the higher."""
    with staged(base) as slow:
        fill(slow.path)
        publish(base, 10)
        assert slow.publish() == base / "11"


@pytest.fixture(params=["kernel", "fallback"])
def either_rename(request, monkeypatch):
    """Both ways to rename: the kernel's own, and the one for systems that lack it."""
    if request.param == "fallback":
        monkeypatch.setattr(rename, "rename_exclusively", lambda source, target: False)
    return request.param


@pytest.mark.parametrize(
    "make", [Path.mkdir, Path.touch, lambda path: path.symlink_to("x")], ids=["directory", "file", "dangling-link"]
)
def test_a_rename_never_replaces(tmp_path, either_rename, make):
    """Not an empty directory either, which rename(2) would."""
    (tmp_path / "stage").mkdir()
    make(tmp_path / "7")
    there = os.lstat(str(tmp_path / "7")).st_ino

    with pytest.raises(FileExistsError):
        rename.rename_new(tmp_path / "stage", tmp_path / "7")

    assert names(tmp_path) == ["7", "stage"]
    assert os.lstat(str(tmp_path / "7")).st_ino == there


def test_the_kernel_keeps_its_promise_without_looking_first(tmp_path, monkeypatch):
    """An empty directory that appears in the last instant is not replaced either."""
    if not sys.platform.startswith("linux"):
        pytest.skip("renameat2 is Linux's")
    monkeypatch.setattr(os.path, "lexists", lambda path: False)
    (tmp_path / "stage").mkdir()
    (tmp_path / "7").mkdir()

    with pytest.raises(FileExistsError):
        rename.rename_new(tmp_path / "stage", tmp_path / "7")

    assert names(tmp_path) == ["7", "stage"]


def test_a_rename_renames(tmp_path, either_rename):
    """And reports what else is wrong as it is."""
    (tmp_path / "stage").mkdir()
    rename.rename_new(tmp_path / "stage", tmp_path / "7")
    assert names(tmp_path) == ["7"]

    with pytest.raises(FileNotFoundError):
        rename.rename_new(tmp_path / "stage", tmp_path / "8")


def test_linux_has_the_exclusive_rename_even_where_its_c_library_has_not(tmp_path, monkeypatch):
    """glibc 2.27, in TensorFlow 1.14's image, knows only the number of the call."""
    if not sys.platform.startswith("linux") or rename.platform.machine() not in rename._RENAMEAT2_NUMBER:
        pytest.skip("the number of the call is known for Linux on x86_64 and aarch64")
    real = rename.ctypes.CDLL

    class OldLibrary:
        def __init__(self, *args, **options):
            self.syscall = real(*args, **options).syscall

    monkeypatch.setattr(rename.ctypes, "CDLL", OldLibrary)
    (tmp_path / "stage").mkdir()
    (tmp_path / "7").mkdir()

    with pytest.raises(FileExistsError):
        rename.rename_exclusively(os.fsencode(str(tmp_path / "stage")), os.fsencode(str(tmp_path / "7")))
    assert rename.rename_exclusively(os.fsencode(str(tmp_path / "stage")), os.fsencode(str(tmp_path / "8")))
    assert names(tmp_path) == ["7", "8"]


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EINVAL, errno.EPERM], ids=["ENOSYS", "EINVAL", "EPERM"])
def test_a_kernel_that_cannot_rename_exclusively_is_asked_no_further(tmp_path, monkeypatch, code):
    """An old kernel, NFS, a sandbox: the rename happens all the same."""

    def refuse(source, target):
        rename.ctypes.set_errno(code)
        return -1

    monkeypatch.setattr(rename, "_system_call", lambda: refuse)
    (tmp_path / "stage").mkdir()
    rename.rename_new(tmp_path / "stage", tmp_path / "7")

    assert names(tmp_path) == ["7"]


def test_publishing_works_without_the_exclusive_rename(base, either_rename):
    """The number is looked up under the lock of the base."""
    assert publish(base) == base / "1"
    assert publish(base, 5) == base / "5"


def intrude(monkeypatch, base, *taken):
    """Let somebody who asks for no lock take these numbers between the choice of a number and the rename."""
    remaining = list(taken)
    real = stage.rename_new

    def rename_new(source, target):
        if remaining:
            (base / remaining.pop(0)).mkdir()
        real(source, target)

    monkeypatch.setattr(stage, "rename_new", rename_new)


def test_an_automatic_number_that_is_taken_at_the_last_moment_is_passed_over(base, either_rename, monkeypatch):
    """As often as it happens."""
    with staged(base) as staging:
        fill(staging.path)
        intrude(monkeypatch, base, "1", "2")
        assert staging.publish() == base / "3"

    assert names(base / "1") == names(base / "2") == []


def test_a_listing_that_is_behind_the_times_does_not_hold_it_up(base, monkeypatch):
    """A network file system may go on for a while without showing what is there."""
    publish(base)
    monkeypatch.setattr(stage, "next_version", lambda base, requested: 1)

    assert publish(base) == base / "2"


def test_a_requested_number_that_is_taken_at_the_last_moment_is_refused(base, either_rename, monkeypatch):
    """Whoever asked for 7 does not want 8."""
    with pytest.raises(VersionError) as error, staged(base, 7) as staging:
        fill(staging.path)
        intrude(monkeypatch, base, "7")
        staging.publish()

    assert str(error.value) == (
        f"{base}: somebody else has just made version 7, and a version is never replaced; "
        "ask for a higher number, or for none"
    )
    assert names(base) == ["7"]
    assert names(base / "7") == []


def test_a_change_of_directory_during_the_work_leads_nowhere_else(tmp_path, monkeypatch):
    """The user's graph function may do so; the result is named as it was asked for, as long as that is right."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)

    assert publish("models/crnn") == Path("models/crnn/1")
    with staged("models/crnn") as staging:
        os.chdir(str(tmp_path / "elsewhere"))
        fill(staging.path)
        assert staging.publish() == tmp_path / "models" / "crnn" / "2"
    with pytest.raises(RuntimeError), staged("other"):
        os.chdir(str(tmp_path))
        raise RuntimeError

    assert names(tmp_path / "models" / "crnn") == ["1", "2"]
    assert names(tmp_path / "elsewhere") == []


# --- what the disk refuses ---------------------------------------------------------------------------------------


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_that_fills_up_during_the_work_is_said_so(base):
    """In words, and with nothing left that fills it."""
    with pytest.raises(VersionError) as error, staged(base):
        full_disk()

    assert str(error.value) == (
        f"{base}: could not write the version, so that nothing was published: No space left on device; "
        "free some space there and run again"
    )
    assert not base.exists()


@pytest.mark.parametrize(
    ("where", "function", "doing"),
    [
        (os, "fsync", r"publish the version: No space left on device \(.*/\.staging-.*/saved_model\.pb\)"),
        (tempfile, "mkdtemp", "stage a version: No space left on device"),
        (os, "mkdir", "stage a version: No space left on device"),
    ],
    ids=["fsync", "mkdtemp", "mkdir"],
)
def test_a_disk_that_is_full_is_said_so(base, monkeypatch, where, function, doing):
    """Wherever it is noticed, with the file where there is one."""
    monkeypatch.setattr(where, function, full_disk)
    with pytest.raises(VersionError) as error, staged(base) as staging:
        fill(staging.path)
        staging.publish()

    text = f"{re.escape(str(base))}: could not {doing}; free some space there and run again"
    assert re.match(text + r"\Z", str(error.value))
    assert not base.exists()


def test_an_error_about_the_callers_own_file_stays_as_it_is(base):
    """Their traceback is what they need."""
    with pytest.raises(FileNotFoundError), staged(base):
        Path("/nonexistent/weights").read_bytes()

    with pytest.raises(PermissionError), staged(base):
        raise PermissionError(errno.EACCES, "theirs", "/root/weights")

    with pytest.raises(VersionError, match="could not write the version.*ours"), staged(base) as staging:
        raise PermissionError(errno.EACCES, "ours", str(staging.path / "saved_model.pb"))


def test_a_base_that_may_not_be_written_is_left_as_it_was(nobodys):
    """For every command that writes."""
    base = nobodys / "crnn"
    for number in "123":
        make_version(base, number)
    before = names(base)
    with as_nobody():
        for command in (lambda: publish(base), lambda: bump_version(base), lambda: prune_versions(base, 1)):
            with pytest.raises(VersionError, match="this user may not write to the directory"):
                command()
        assert len(list_versions(base)) == 3
        assert len(prune_versions(base, 1, dry_run=True)) == 2

    assert names(base) == before


# --- several at once ---------------------------------------------------------------------------------------------

PRELUDE = """
import os, sys
sys.path[:0] = [{root!r}, {tests!r}]
from pathlib import Path
from test_versions import fill, publish, staged
base = Path({base!r})
"""


def start(base, code):
    """Run the code in a process of its own, with pipes to talk through."""
    text = PRELUDE.format(root=str(ROOT), tests=str(ROOT / "tests"), base=str(base)) + textwrap.dedent(code)
    return subprocess.Popen(
        [sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, universal_newlines=True
    )


def is_locked(directory):
    """Whether somebody, this process included, holds the lock of the directory."""
    descriptor = os.open(str(directory), os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


HOLD = """
    with staged(base) as staging:
        fill(staging.path)
        print(staging.path, flush=True)
        sys.stdin.readline()
        print(staging.publish(), flush=True)
"""


def test_concurrent_exporters_get_consecutive_numbers(base):
    """Eight processes, five versions each, started together: forty numbers and nothing else."""
    processes = [
        start(
            base,
            """
            print("ready", flush=True)
            sys.stdin.readline()
            for _ in range(5):
                print(publish(base).name, flush=True)
            """,
        )
        for _ in range(8)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate()[0].split() for process in processes]

    assert [process.returncode for process in processes] == [0] * 8
    assert all(mine == sorted(mine, key=int) for mine in answers)
    assert sorted(int(name) for mine in answers for name in mine) == list(range(1, 41))
    assert sorted(names(base), key=int) == [str(number) for number in range(1, 41)]
    assert all(health(base / name).problems == () for name in names(base))


def test_concurrent_exporters_may_fail_around_each_other(tmp_path):
    """Who fails takes the directories away that it created, and nobody else's; who succeeds is not disturbed."""
    base = tmp_path / "models" / "crnn"
    failing = """
        print("ready", flush=True)
        sys.stdin.readline()
        for _ in range(40):
            try:
                with staged(base) as staging:
                    raise RuntimeError
            except RuntimeError:
                pass
    """
    processes = [start(base, failing) for _ in range(4)]
    for process in processes:
        process.stdout.readline()
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate()

    assert [process.returncode for process in processes] == [0] * 4
    assert not base.exists() or names(base) == []
    publish(base)
    assert names(base) == ["1"]


def test_a_base_that_was_made_anew_while_waiting_is_locked_itself(base, monkeypatch):
    """Who held it may have failed and removed it; the lock on what is gone keeps nobody out."""
    base.mkdir()
    real, calls = fcntl.flock, []

    def flock(descriptor, operation):
        calls.append(operation)
        real(descriptor, operation)
        if len(calls) == 1:
            base.rename(base.parent / "gone")
            base.mkdir()

    monkeypatch.setattr(fcntl, "flock", flock)
    with stage.locked(base):
        assert len(calls) == 2
        assert is_locked(base)
        assert not is_locked(base.parent / "gone")


def test_a_base_is_removed_under_its_lock(tmp_path, monkeypatch):
    """So that nobody is just putting a stage into it."""
    base, real, held = tmp_path / "models" / "crnn", os.rmdir, []

    def rmdir(path, **options):
        if str(path) == str(base):
            held.append(is_locked(base))
        real(path, **options)

    monkeypatch.setattr(os, "rmdir", rmdir)
    with staged(base):
        pass

    assert held == [True]
    assert names(tmp_path) == []


def test_numbers_only_grow_while_somebody_chooses(base, monkeypatch):
    """An exporter that asks for 10 waits for the one that is just taking 1, and the next takes 11, not 2."""
    chosen, go_on = threading.Event(), threading.Event()
    real = stage.rename_new

    def rename_new(source, target):
        if target.name == "1":
            chosen.set()
            assert go_on.wait(60)
        real(source, target)

    monkeypatch.setattr(stage, "rename_new", rename_new)
    slow = threading.Thread(target=publish, args=(base,))
    slow.start()
    try:
        assert chosen.wait(60)
        other = start(base, "publish(base, 10); publish(base)")
        assert is_locked(base)  # so `other` can't have got further than its stage
    finally:
        go_on.set()
        slow.join()
    other.communicate()

    assert other.returncode == 0
    assert sorted(names(base), key=int) == ["1", "10", "11"]


def test_a_killed_exporter_is_cleaned_up_after_and_a_living_one_is_not(base):
    """The next run removes the leftover, while another exporter at work keeps its stage and publishes it."""
    killed, living = start(base, HOLD), start(base, HOLD)
    leftover, at_work = Path(killed.stdout.readline().strip()), Path(living.stdout.readline().strip())
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert leftover.is_dir()
    assert numbered_children(base) == ()

    assert publish(base) == base / "1"
    assert names(base) == sorted(["1", at_work.name])

    out, _ = living.communicate("go\n")
    assert out == f"{base / '2'}\n"
    assert names(base) == ["1", "2"]
    assert health(base / "2").problems == ()


def test_an_exporter_at_work_in_the_same_process_is_left_alone(base):
    """Threads of one service export as well."""
    with staged(base) as first, staged(base) as second:
        fill(first.path)
        fill(second.path)
        assert second.publish() == base / "1"
        assert first.publish() == base / "2"


def test_a_prune_that_was_killed_is_finished(base):
    """By the next export as by the next prune."""
    for finish in (publish, lambda base: prune_versions(base)):
        make_version(base, ".pruned-0123")
        finish(base)
        assert names(base) == ["1"]


def test_only_directories_of_our_own_are_cleaned_away(base):
    """Not a file, a link or anybody else's hidden directory."""
    make_version(base, ".staging")
    make_version(base, ".git")
    (base / ".staging-note").write_bytes(b"")
    (base / ".staging-link").symlink_to(".git")
    publish(base)

    assert names(base) == [".git", ".staging", ".staging-link", ".staging-note", "1"]
    assert names(base / ".git") == ["saved_model.pb", "variables"]


def test_without_locks_only_what_is_a_day_old_is_cleaned_away(base, no_flock, monkeypatch):
    """Nobody can tell then whether its process lives, and the clock is all there is."""
    make_version(base, ".staging-0123")
    assert publish(base) == base / "1"
    assert names(base) == [".staging-0123", "1"]

    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 23 * 3600)
    publish(base)
    assert ".staging-0123" in names(base)

    monkeypatch.setattr(time, "time", lambda: now + 25 * 3600)
    publish(base)
    assert names(base) == ["1", "2", "3"]


# --- bump --------------------------------------------------------------------------------------------------------

PUBLISHED = {"format": 1, "checkpoint": {"name": "crnn-100000", "step": 100000}}


def inode(path):
    return os.stat(str(path)).st_ino


def shared(one, other):
    """The files, by name, that are the same inode in two versions."""
    files = [path.relative_to(one) for path in one.rglob("*") if path.is_file()]
    return sorted(str(file) for file in files if inode(one / file) == inode(other / file))


def test_a_roll_back_publishes_an_old_version_as_the_newest(base):
    """With all its content, and what it says about where it comes from."""
    publish(base, 100000, provenance=PUBLISHED)
    publish(base, provenance={"format": 1})
    result = bump_version(base, 100000, now=NOW)

    assert (result.number, result.path, result.source, result.republished_from) == (
        100002,
        base / "100002",
        base / "100000",
        100000,
    )
    assert json.loads((result.path / PROVENANCE).read_text(encoding="utf-8")) == {
        **PUBLISHED,
        "republished": {"from": 100000, "time": "2024-05-06T07:08:09+00:00"},
    }
    assert json.loads((base / "100000" / PROVENANCE).read_text(encoding="utf-8")) == PUBLISHED
    assert names(base) == ["100000", "100001", "100002"]
    assert health(result.path).problems == ()


def test_a_roll_back_shares_all_files_but_the_provenance(base):
    """Nothing is copied, and nothing of the old version changes."""
    old = publish(base, provenance=PUBLISHED)
    before = {path: os.stat(str(path)).st_mtime_ns for path in old.rglob("*")}
    new = bump_version(base, 1).path

    assert shared(old, new) == [
        "saved_model.pb",
        "variables/variables.data-00000-of-00001",
        "variables/variables.index",
    ]
    assert {path: os.stat(str(path)).st_mtime_ns for path in old.rglob("*")} == before


@pytest.mark.parametrize("source", [None, 3, "3", "003", "directory"])
def test_the_source_may_be_said_in_many_ways(base, source, monkeypatch):
    """By default it is the newest."""
    publish(base, 2)
    publish(base, 3)
    monkeypatch.chdir(base.parent)
    result = bump_version(base, Path("crnn/../crnn/3") if source == "directory" else source, now=NOW)

    assert (result.number, result.republished_from) == (4, 3)
    assert len(shared(base / "3", base / "4")) == 3


def test_of_two_directories_with_one_number_the_loaded_one_is_taken(base):
    """As TF Serving does: 1, not 01."""
    make_broken(base, "01")
    make_version(base, "1")

    assert bump_version(base, 1).source == base / "1"
    assert bump_version(base, "01").source == base / "1"


def test_a_directory_named_like_a_number_is_asked_for_as_a_path(base, tmp_path, monkeypatch):
    """`7` is a version of the base, `./7` is not."""
    make_version(tmp_path, "7")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(VersionError) as error:
        bump_version(base, "7")
    assert str(error.value) == f"{base}: there is no version 7, nor any other"

    assert bump_version(base, "./7").republished_from == str(tmp_path / "7")
    with pytest.raises(VersionError) as error:
        bump_version(base, "7")
    assert str(error.value) == f"{base}: there is no version 7; expected one of 1"


def test_a_foreign_saved_model_is_copied(base, tmp_path):
    """Its owner may still write to it, so it shares nothing; it gets a provenance, and modes that a server can read."""
    foreign = make_version(tmp_path, "elsewhere")
    (foreign / "saved_model.pb").chmod(0o600)
    (foreign / "variables").chmod(0o700)
    result = bump_version(base, foreign, now=NOW)

    assert result.path == base / "1"
    assert shared(foreign, result.path) == []
    assert json.loads((result.path / PROVENANCE).read_text(encoding="utf-8")) == {
        "format": 1,
        "republished": {"from": str(foreign), "time": "2024-05-06T07:08:09+00:00"},
    }
    assert health(result.path).problems == ()
    assert (mode(foreign / "saved_model.pb"), mode(foreign / "variables")) == (0o600, 0o700)
    assert names(foreign) == ["saved_model.pb", "variables"]


def test_a_version_of_another_base_is_copied(base, tmp_path):
    """Another model's directory has another owner."""
    elsewhere = publish(tmp_path / "other", provenance=PUBLISHED)
    result = bump_version(base, elsewhere, now=NOW)

    assert shared(elsewhere, result.path) == []
    assert json.loads((result.path / PROVENANCE).read_text(encoding="utf-8"))["checkpoint"] == PUBLISHED["checkpoint"]


@pytest.mark.parametrize("provenance", [None, "[1]", "{", ""], ids=["none", "no-object", "no-json", "empty"])
def test_a_version_that_somebody_else_put_there_is_copied(base, provenance):
    """Only what ckpt2saved published is known never to change."""
    old = make_version(base, "1")
    if provenance is not None:
        (old / PROVENANCE).parent.mkdir()
        (old / PROVENANCE).write_text(provenance, encoding="utf-8")
        open_to_all(old)
    new = bump_version(base, 1, now=NOW).path

    assert shared(old, new) == []
    assert sorted(json.loads((new / PROVENANCE).read_text(encoding="utf-8"))) == ["format", "republished"]


def test_a_linked_version_is_copied(base, tmp_path):
    """What lies behind a symbolic link is not of this base, whatever it says; the copy has no links."""
    real = publish(tmp_path / "other", provenance=PUBLISHED)
    base.mkdir()
    (base / "1").symlink_to(real)
    new = bump_version(base, 1).path

    assert shared(real, new) == []
    assert not new.is_symlink()
    assert health(new).problems == ()


def test_links_inside_a_version_become_files(base, tmp_path):
    """A file and a directory behind a link are copied, the others are shared."""
    old = publish(base, provenance=PUBLISHED)
    (old / "..data").mkdir()
    (old / "variables").rename(old / "..data" / "variables")
    (old / "variables").symlink_to(Path("..data") / "variables")
    (old / "..data" / "charset.txt").write_bytes(b"abc")
    (old / "..data" / "charset.txt").chmod(0o644)
    (old / "charset.txt").symlink_to(old / "variables" / ".." / "charset.txt")
    new = bump_version(base, 1).path

    assert [path for path in new.rglob("*") if path.is_symlink()] == []
    assert (new / "charset.txt").read_bytes() == b"abc"
    assert inode(new / "variables" / "variables.index") != inode(old / "variables" / "variables.index")
    assert inode(new / "saved_model.pb") == inode(old / "saved_model.pb")
    assert health(new).problems == ()


@pytest.mark.parametrize("changed", [0o664, 0o646, 0o600, 0o755])
def test_a_file_with_another_mode_is_copied(base, changed):
    """Others may write to it, or the mode of the old version would change with the new one's."""
    old = publish(base)
    (old / "saved_model.pb").chmod(changed)
    new = bump_version(base, 1).path

    assert "saved_model.pb" not in shared(old, new)
    assert len(shared(old, new)) == 2
    assert (mode(old / "saved_model.pb"), mode(new / "saved_model.pb")) == (changed, 0o644)


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EMLINK, errno.EPERM], ids=["EXDEV", "EMLINK", "EPERM"])
def test_a_file_that_cannot_be_linked_is_copied(base, monkeypatch, code):
    """File by file."""
    old = publish(base)
    real = os.link

    def link(source, target, **options):
        if source == "variables.index":
            raise OSError(code, os.strerror(code))
        real(source, target, **options)

    monkeypatch.setattr(os, "link", link)
    new = bump_version(base, 1).path

    assert shared(old, new) == ["saved_model.pb", "variables/variables.data-00000-of-00001"]
    assert (new / "variables" / "variables.index").read_bytes() == INDEX


def test_a_broken_version_is_not_published_again(base):
    """All that is wrong is said; an older whole one has to be asked for."""
    publish(base)
    broken = make_version(base, "2")
    (broken / "saved_model.pb").write_bytes(b"")
    (broken / "variables" / "variables.data-00000-of-00001").unlink()
    with pytest.raises(VersionError) as error:
        bump_version(base)

    assert str(error.value) == (
        f"{base}/2: not published again, as TF Serving could not load it\n"
        "  - saved_model.pb: empty\n"
        "  - variables/variables.data-*: missing, though variables/variables.index is there"
    )
    assert names(base) == ["1", "2"]


@pytest.mark.parametrize("source", ["crnn", "link", "", "."], ids=["base", "link-to-it", "parent", "here"])
def test_the_base_itself_is_not_published(base, tmp_path, source, monkeypatch):
    """It would be copied into itself."""
    publish(base)
    (tmp_path / "link").symlink_to("crnn")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(VersionError) as error:
        bump_version("crnn", Path(source))

    assert str(error.value) == (
        f"{Path(source)}: holds the base directory crnn itself; expected one version, "
        "that is a directory with saved_model.pb in it"
    )


def test_nothing_to_publish_again_is_said_so(base):
    """And what could be done instead."""
    with pytest.raises(VersionError) as error:
        bump_version(base)

    assert str(error.value) == f"{base}: there is no version to publish again; name a SavedModel directory"


def test_a_dry_run_says_the_number_and_changes_nothing(base, tmp_path):
    """It refuses what the real run refuses."""
    publish(base, 7)
    before = names(base)

    assert bump_version(base, dry_run=True).path == base / "8"
    assert bump_version(base, requested=70, dry_run=True).number == 70
    assert bump_version(tmp_path / "new", base / "7", dry_run=True).path == tmp_path / "new" / "1"
    with pytest.raises(VersionError, match="ask for 8 or more"):
        bump_version(base, requested=7, dry_run=True)
    make_broken(base, "9")
    with pytest.raises(VersionError, match="could not load it"):
        bump_version(base, 9, dry_run=True)
    assert names(base) == before + ["9"]
    assert not (tmp_path / "new").exists()


def test_a_number_may_be_asked_for_when_publishing_again(base):
    """Above all the others."""
    publish(base)

    assert bump_version(base, requested=20).path == base / "20"


def test_a_disk_that_fills_up_while_copying_leaves_nothing(base, tmp_path, monkeypatch):
    """And is said so."""
    foreign = make_version(tmp_path, "elsewhere")
    monkeypatch.setattr(shutil, "copyfileobj", full_disk)
    with pytest.raises(VersionError) as error:
        bump_version(base, foreign)

    assert str(error.value).startswith(f"{base}: could not copy {foreign}: No space left on device (")
    assert str(error.value).endswith("/saved_model.pb); free some space there and run again")
    assert not base.exists()


def test_a_directory_that_is_being_written_is_not_published(base, tmp_path, monkeypatch):
    """Its copy would be of no moment that ever was."""
    foreign = make_version(tmp_path, "elsewhere")
    data = foreign / "variables" / "variables.data-00000-of-00001"
    real = shutil.copyfileobj

    def copyfileobj(source, target, size):
        real(source, target, size)
        if target.name.endswith(data.name):
            with data.open("ab") as file:
                file.write(b"more")

    monkeypatch.setattr(shutil, "copyfileobj", copyfileobj)
    with pytest.raises(VersionError) as error:
        bump_version(base, foreign)

    assert str(error.value) == f"{data}: changed while it was copied; wait until it is written, then run again"
    assert not base.exists()


def test_a_link_that_leads_in_a_circle_is_refused(base, tmp_path):
    """Copying would not end."""
    foreign = make_version(tmp_path, "elsewhere")
    (foreign / "assets").symlink_to(".")
    with pytest.raises(VersionError, match="elsewhere/assets: a symbolic link leads back to a directory that holds it"):
        bump_version(base, foreign)

    assert not base.exists()


def test_what_is_no_file_is_not_copied(tmp_path):
    """Reading a pipe would not end either."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    os.mkfifo(str(source / "pipe"))

    with pytest.raises(VersionError) as error:
        copy_version(source, target, link=False)

    assert (
        str(error.value)
        == f"{source}/pipe: a named pipe, neither a file nor a directory; remove it from the SavedModel"
    )


def test_the_time_is_now_unless_it_is_said(base):
    """In UTC, to the second."""
    publish(base)
    before = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    path = bump_version(base).path
    written = json.loads((path / PROVENANCE).read_text(encoding="utf-8"))["republished"]["time"]

    assert (
        before
        <= datetime.datetime.strptime(written, "%Y-%m-%dT%H:%M:%S+00:00").replace(tzinfo=datetime.timezone.utc)
        <= datetime.datetime.now(datetime.timezone.utc)
    )


def test_a_path_that_is_no_utf8_is_still_written_as_json(base, tmp_path):
    """Old file servers have such names."""
    foreign = make_version(tmp_path, os.fsdecode(b"mod\xe8le"))
    path = bump_version(base, foreign).path

    assert json.loads((path / PROVENANCE).read_text(encoding="utf-8"))["republished"]["from"] == str(foreign)


def test_a_provenance_is_replaced_and_not_written_through(tmp_path):
    """Should the file be shared with a published version, that one keeps its own."""
    old, new = make_version(tmp_path, "old", provenance=PUBLISHED), make_version(tmp_path, "new")
    (new / PROVENANCE).parent.mkdir()
    os.link(str(old / PROVENANCE), str(new / PROVENANCE))

    assert write_provenance(new, {"format": 1}) == new / PROVENANCE
    assert (read_provenance(old), read_provenance(new)) == (PUBLISHED, {"format": 1})


def test_a_large_version_is_neither_read_nor_copied(base, monkeypatch):
    """Seventy megabytes of variables take as long as seventy bytes."""
    with staged(base) as staging:
        fill(staging.path, provenance=PUBLISHED, more=70 * 1024 * 1024)
        staging.publish()
    copied = []
    monkeypatch.setattr(shutil, "copyfileobj", lambda source, target, size: copied.append(Path(target.name).name))
    bump_version(base)

    assert copied == [PROVENANCE.name]


# --- health ------------------------------------------------------------------------------------------------------

WITHOUT_VALUES = "variables/variables.index: missing; TF Serving would load the version without a value in any variable"
DATA = "variables/variables.data-00000-of-00001"


def write(name, content):
    return lambda directory: (directory / name).write_bytes(content)


def remove(*files):
    return lambda directory: [(directory / name).unlink() for name in files]


def remove_variables(directory):
    shutil.rmtree(str(directory / "variables"))


def with_shards(*shards):
    def change(directory):
        (directory / DATA).unlink()
        for shard in shards:
            (directory / "variables" / ("variables.data-" + shard)).write_bytes(VALUES)

    return change


@pytest.mark.parametrize(
    ("change", "problems"),
    [
        pytest.param(lambda directory: None, [], id="whole"),
        pytest.param(remove("saved_model.pb"), ["saved_model.pb: missing; TF Serving has nothing to load"], id="no-pb"),
        pytest.param(write("saved_model.pb", b""), ["saved_model.pb: empty"], id="empty-pb"),
        pytest.param(
            write("saved_model.pb", GRAPH[:-1]),
            ["saved_model.pb: truncated after 4404 bytes, or damaged; copy it again, whole"],
            id="pb-cut-in-the-graph",
        ),
        pytest.param(
            write("saved_model.pb", b"\x08\x01\x12\x80"),
            ["saved_model.pb: truncated after 4 bytes, or damaged; copy it again, whole"],
            id="pb-cut-in-a-length",
        ),
        pytest.param(
            write("saved_model.pb", b"\x08"),
            ["saved_model.pb: truncated after 1 bytes, or damaged; copy it again, whole"],
            id="pb-cut-in-the-version",
        ),
        pytest.param(
            write("saved_model.pb", b"\x08\x01"),
            ["saved_model.pb: truncated or of something else: no meta graph in its 2 bytes"],
            id="no-meta-graph",
        ),
        pytest.param(
            write("saved_model.pb", b"<html>not found</html>"),
            ["saved_model.pb: truncated after 22 bytes, or damaged; copy it again, whole"],
            id="no-protobuf",
        ),
        pytest.param(
            write("saved_model.pb", GRAPH + b"\x18\x80\x80\x01\x251234\x2912345678" + GRAPH[2:]), [], id="more-fields"
        ),
        pytest.param(remove("variables/variables.index"), [WITHOUT_VALUES], id="no-index"),
        pytest.param(remove_variables, [WITHOUT_VALUES], id="no-variables-yet"),
        pytest.param(remove("variables/variables.index", DATA), [WITHOUT_VALUES], id="empty-variables"),
        pytest.param(write("variables/variables.index", b""), ["variables/variables.index: empty"], id="empty-index"),
        pytest.param(
            write("variables/variables.index", INDEX[-47:]),
            ["variables/variables.index: truncated to 47 bytes; copy it again, whole"],
            id="short-index",
        ),
        pytest.param(
            write("variables/variables.index", INDEX + b"\0"),
            ["variables/variables.index: truncated, or no checkpoint index: its last 8 bytes are not a table's"],
            id="no-index-of-a-checkpoint",
        ),
        pytest.param(
            remove(DATA),
            ["variables/variables.data-*: missing, though variables/variables.index is there"],
            id="no-data",
        ),
        pytest.param(
            with_shards("00000-of-00002", "00001-of-00002"),
            ["variables/variables.data-00000-of-00001: missing"],
            id="shards-of-another-index",
        ),
        pytest.param(with_shards("00000-of-00001", "00001-of-00003"), [], id="other-shards-beside"),
        pytest.param(
            lambda directory: [
                write("saved_model.pb", FROZEN_GRAPH)(directory),
                remove("variables/variables.index")(directory),
            ],
            [WITHOUT_VALUES],
            id="data-without-index",
        ),
    ],
)
def test_what_is_wrong_with_a_version_is_found_without_tensorflow(base, change, problems):
    """Above all what TF Serving would load without complaint."""
    directory = make_version(base, "1")
    change(directory)
    open_to_all(directory)

    assert health(directory).problems == tuple(problems)


def test_every_truncation_of_the_graph_is_found(base):
    """TF 1.15 loads a few of them, with no signature."""
    directory = make_version(base, "1")
    for length in range(1, len(GRAPH)):
        (directory / "saved_model.pb").write_bytes(GRAPH[:length])
        assert len(health(directory).problems) == 1, length


def test_a_graph_without_variables_needs_none(base):
    """Neither an empty directory for them, which git and other copiers leave out."""
    directory = make_version(base, "1")
    (directory / "saved_model.pb").write_bytes(FROZEN_GRAPH)
    shutil.rmtree(str(directory / "variables"))

    assert health(directory).problems == ()


TEXT_GRAPH = """
saved_model_schema_version: 1
meta_graphs {
  meta_info_def { tags: "serve" }
  signature_def {
    key: "serving_default"
    value { outputs { key: "y" value { name: "y:0" dtype: DT_FLOAT } } method_name: "tensorflow/serving/predict" }
  }
}
"""


def test_a_text_graph_is_a_graph(base):
    """Unless it is empty."""
    directory = make_version(base, "1")
    (directory / "saved_model.pb").unlink()
    (directory / "saved_model.pbtxt").write_text(TEXT_GRAPH)
    assert health(directory).problems == ()

    (directory / "saved_model.pbtxt").write_bytes(b"")
    assert health(directory).problems == ("saved_model.pbtxt: empty",)


def test_what_is_no_directory_is_said_so(tmp_path):
    """TF Serving takes each of them for a version."""
    (tmp_path / "1").write_bytes(b"")
    (tmp_path / "2").symlink_to("gone")

    assert health(tmp_path / "1").problems == ("not a directory",)
    assert health(tmp_path / "2").problems == ("a symbolic link to gone, which is no directory",)
    assert health(tmp_path / "3").problems == ("there is no such directory",)


def test_modes_that_keep_a_server_out_are_found(base):
    """Of directories and of files, beside whatever else is wrong."""
    directory = make_version(base, "1")
    (directory / "variables").chmod(0o750)
    (directory / "saved_model.pb").chmod(0o600)
    (directory / DATA).unlink()

    assert health(directory).problems == (
        "variables/variables.data-*: missing, though variables/variables.index is there",
        "saved_model.pb: mode 0600, which keeps out a server of another user; chmod o+r",
        "variables: mode 0750, which keeps out a server of another user; chmod o+rx",
    )


def test_what_this_user_may_not_read_is_found(nobodys, monkeypatch):
    """A directory that is closed hides the rest, and is no traceback."""
    directory = make_version(nobodys, "1")
    (directory / "saved_model.pb").chmod(0o600)
    closed = make_version(nobodys, "2")
    closed.chmod(0o744)
    with as_nobody():
        problems, closed_problems = health(directory).problems, health(closed).problems

        monkeypatch.setattr(
            "ckpt2saved.versions.health.may_access", lambda path, rights: True
        )  # as a file server may say
        refused = health(directory).problems

    assert refused[0] == "saved_model.pb: Permission denied"
    assert problems == (
        "saved_model.pb: this user may not read it",
        "saved_model.pb: mode 0600, which keeps out a server of another user; chmod o+r",
    )
    assert closed_problems == (
        ".: this user may not read it",
        ".: mode 0744, which keeps out a server of another user; chmod o+rx",
    )


# --- list --------------------------------------------------------------------------------------------------------


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
    assert all(version.is_whole and version.duplicate_of is None for version in listed)


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

    assert [(version.name, version.problems, version.size) for version in list_versions(base)] == [
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
    assert listed.is_whole


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


# --- prune -------------------------------------------------------------------------------------------------------


def deleted(base, keep, **options):
    """The names that a prune deleted, after checking that it is just what vanished, and what a dry run had said."""
    before = names(base)
    announced = prune_versions(base, keep, dry_run=True, **options)
    assert names(base) == before
    versions = prune_versions(base, keep, **options)
    assert versions == announced
    assert sorted(before) == sorted(names(base) + [version.path.name for version in versions])
    return [version.path.name for version in versions]


@pytest.mark.parametrize(
    ("whole", "broken", "keep", "expected"),
    [
        pytest.param("123", "", 5, [], id="fewer-than-kept"),
        pytest.param("123", "", 3, [], id="as-many-as-kept"),
        pytest.param("123456", "", 2, ["4", "3", "2", "1"], id="the-oldest-go"),
        pytest.param("12", "", 1, ["1"], id="the-newest-stays"),
        pytest.param("12", "3", 1, ["1"], id="a-broken-newest-is-not-counted"),
        pytest.param("123", "45", 2, ["1"], id="nor-several"),
        pytest.param("14", "23", 1, ["3", "2", "1"], id="broken-ones-go-with-the-old"),
        pytest.param("145", "23", 3, [], id="but-not-from-among-the-kept"),
        pytest.param("34", "12", 5, ["2", "1"], id="broken-ones-below-all-whole-ones-go"),
        pytest.param("", "123", 1, [], id="nothing-goes-if-none-is-whole"),
    ],
)
def test_the_newest_whole_versions_are_kept(base, whole, broken, keep, expected):
    """A broken version does not answer, so it is none of those that are kept to answer."""
    for name in whole:
        make_version(base, name)
    for name in broken:
        make_broken(base, name)

    assert deleted(base, keep) == expected


@pytest.mark.parametrize("keep", [0, -1])
def test_one_at_least_is_kept(base, keep):
    """Without any, TF Serving unloads the model."""
    make_version(base, "1")
    with pytest.raises(VersionError) as error:
        prune_versions(base, keep)

    assert str(error.value) == f"{base}: can't keep {keep} versions; expected 1 or more"
    assert names(base) == ["1"]


def test_versions_with_one_number_count_once(base):
    """And go together."""
    for name in ("01", "1", "002", "2", "3"):
        make_version(base, name)

    assert deleted(base, 2) == ["1", "01"]
    assert deleted(base, 1) == ["2", "002"]


def test_the_one_that_is_loaded_tells_whether_a_number_is_whole(base):
    """TF Serving reads 3, which is broken, not 03."""
    for name in ("1", "2", "03"):
        make_version(base, name)
    make_broken(base, "3")

    assert deleted(base, 1) == ["1"]


def test_a_version_that_is_still_served_can_be_spared(base):
    """The caller asks the server."""
    for name in "1234":
        make_version(base, name)

    assert deleted(base, 1, spare=[2]) == ["3", "1"]


def test_only_the_link_to_a_version_is_deleted(base, tmp_path):
    """What it leads to is somebody else's."""
    real = make_version(tmp_path, "elsewhere")
    base.mkdir()
    (base / "1").symlink_to(real)
    make_version(base, "2")

    assert deleted(base, 1) == ["1"]
    assert health(real).problems == ()


def test_a_link_inside_a_version_is_not_followed(base, tmp_path):
    """Nor is what it leads to deleted."""
    real = make_version(tmp_path, "elsewhere")
    make_version(base, "1")
    (base / "1" / "assets").symlink_to(real)
    make_version(base, "2")

    assert deleted(base, 1) == ["1"]
    assert health(real).problems == ()


def test_what_never_was_a_version_is_not_deleted(base):
    """A file, a dangling link, a negative number, a directory of something else."""
    base.mkdir()
    (base / "1").write_bytes(b"")
    (base / "2").symlink_to("gone")
    make_version(base, "-3")
    (base / "2019").mkdir()
    (base / "2019" / "holiday.jpg").write_bytes(b"")
    make_version(base, "3000")

    assert deleted(base, 1) == []


def test_the_remains_of_a_version_are_deleted(base):
    """An empty directory, or one with the variables alone."""
    (base / "1").mkdir(parents=True)
    (base / "2" / "variables").mkdir(parents=True)
    make_version(base, "3")

    assert deleted(base, 1) == ["2", "1"]


def test_a_version_is_never_half_deleted_under_its_number(base, monkeypatch):
    """It is out of TF Serving's sight before its first file goes, and what could not be deleted is cleaned up later."""
    for name in "12":
        make_version(base, name)
    seen = []

    def rmtree(path):
        seen.append((Path(path).name[:8], names(base)[1:], names(path)))
        raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    real = shutil.rmtree
    monkeypatch.setattr(shutil, "rmtree", rmtree)
    with pytest.raises(VersionError, match=f"{base}: could not delete old versions: Input/output error"):
        prune_versions(base, 1)
    assert seen == [(".pruned-", ["2"], ["saved_model.pb", "variables"])]

    monkeypatch.setattr(shutil, "rmtree", real)
    assert publish(base) == base / "3"
    assert names(base) == ["2", "3"]


def test_a_shared_file_survives_the_version_that_it_was_published_with(base):
    """Pruning what was rolled back to leaves the roll-back whole."""
    publish(base, provenance=PUBLISHED)
    bump_version(base)
    prune_versions(base, 1)

    assert names(base) == ["2"]
    assert health(base / "2").problems == ()


def test_pruning_and_publishing_take_turns(base, monkeypatch):
    """Whoever changes what is there holds the lock of the base meanwhile: leftovers, renames, new stages."""
    for name in ("1", "2", ".staging-0123"):
        make_version(base, name)
    held = []

    def watch(module, function):
        real = getattr(module, function)

        def watched(*args, **options):
            held.append((function, is_locked(base)))
            return real(*args, **options)

        monkeypatch.setattr(module, function, watched)

    watch(tempfile, "mkdtemp")
    watch(stage, "rename_new")
    watch(shutil, "rmtree")
    publish(base)
    assert held == [("rename_new", True), ("mkdtemp", True), ("rmtree", False), ("rename_new", True)]

    del held[:]
    assert [version.number for version in prune_versions(base, 2)] == [1]
    assert held == [("rename_new", True), ("rmtree", False)]
    assert not is_locked(base)


def test_nothing_here_needs_tensorflow():
    """Numbers are chosen and versions listed before it is imported, if ever."""
    code = "import sys; sys.modules['tensorflow'] = None; sys.modules['numpy'] = None; import ckpt2saved.versions"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=str(ROOT))
