"""Staging and publishing: a version directory is complete or absent."""

from __future__ import annotations

import errno
import os
import re
import sys
import tempfile
from pathlib import Path

import pytest

from ckpt2saved.errors import VersionError
from ckpt2saved.versions import (
    bump_version,
    list_versions,
    parse_version,
    prune_versions,
    rename,
    stage,
    staged,
)
from ckpt2saved.versions.health import health
from tests.support.versions import (
    as_nobody,
    fill,
    full_disk,
    make_version,
    mode,
    names,
    publish,
)


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
        f"{base}: nothing was published, since TF Serving could not load the staged version\n"
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
        f"{base}: another process has just published version 7, and a version is never replaced; "
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


@pytest.mark.parametrize("code", [errno.ESTALE, errno.ENOENT, errno.EIO, errno.ETIMEDOUT])
def test_a_failing_file_system_is_no_bug(base, code):
    """That of a network loses files; somebody else deletes the stage. A bug in what fills the stage stays one."""
    with pytest.raises(VersionError, match="could not write the version, so that nothing was published"):
        with staged(base) as staging:
            raise OSError(code, os.strerror(code), str(staging.path / "saved_model.pb"))
    with pytest.raises(VersionError, match="could not write the version"), staged(base) as staging:
        raise OSError(code, os.strerror(code), str(staging.path))

    with pytest.raises(IsADirectoryError), staged(base) as staging:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(staging.path / "variables"))


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
