"""Which versions of a source are pulled into a local base directory, and what happens with the others."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat

import pytest

from ckpt2saved.console.loops import Stopped
from ckpt2saved.errors import NotDeleted, UsageError, VersionError
from ckpt2saved.versions import list_versions
from ckpt2saved.versions.copying import copy_version
from ckpt2saved.versions.deletion import not_deleted
from ckpt2saved.versions.syncing import sources
from tests.fuzz.fuzzer import CPU_SECONDS, WALL_SECONDS, forked, with_timers
from tests.support.syncs import Sync
from tests.support.versions import full_disk, make_broken, make_version, publish_recorded


@pytest.fixture
def source(tmp_path):
    """The base directory that versions come from."""
    folder = tmp_path / "mounted" / "crnn"
    for number in (3, 4, 7):
        publish_recorded(folder, number, more=number)
    return folder


@pytest.fixture
def sync(source, base):
    return Sync(base, source)


def damage(version):
    """Another byte in a file that TF Serving reads without noticing."""
    path = version / "variables" / "variables.data-00000-of-00001"
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def test_an_empty_base_gets_the_newest_version(sync, source, base):
    """With its number and its files; then nothing is left to do."""
    assert sync.round() == (True, ["pulling", "published"]) and sync.local() == ["7"]
    (published,) = sync.told("published")
    assert published["model"] == "crnn" and published["path"] == str(base / "7") and published["version"] == 7
    for path in (source / "7").rglob("*"):
        copy = base / "7" / path.relative_to(source / "7")
        assert copy.is_dir() if path.is_dir() else copy.read_bytes() == path.read_bytes()
        assert stat.S_IMODE(copy.stat().st_mode) == (0o755 if path.is_dir() else 0o644)
    assert (base / "7" / "saved_model.pb").stat().st_ino != (source / "7" / "saved_model.pb").stat().st_ino
    assert sync.round() == (True, [])


def test_a_local_version_that_was_damaged_is_told_when_a_sync_starts(sync, source, base):
    """It can't be pulled again under its number; a version above it is pulled as before, and is all that is compared."""
    sync.round()
    damage(base / "7")
    assert sync.round() == (True, [])  # files are not read in each round
    restarted = Sync(base, source)
    assert restarted.round() == (True, ["failed"])
    (told,) = restarted.told("failed")
    assert (told["kind"], told["version"], told["retry_in"]) == ("damaged", 7, None)
    assert told["error"]["message"] == f"{base / '7'}: a server that starts would load what was not published"
    assert told["problems"] == [
        "7: its files are not those that were published; publish it in the source again under a higher number, as"
        f" with ckpt2saved bump-version {source} --from 7"
    ]
    assert restarted.state.failures["damaged"] == 1
    assert restarted.round() == (True, [])

    publish_recorded(source, 8, more=8)
    assert Sync(base, source).round() == (True, ["pulling", "published"])
    assert Sync(base, source).round() == (True, [])


def test_a_local_version_that_cannot_be_read_is_told(sync, source, base, monkeypatch):
    """As on a failing disk; the sync goes on."""
    sync.round()

    def failing(directory):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    restarted = Sync(base, source)
    monkeypatch.setattr("ckpt2saved.versions.syncing.model.is_altered", failing)
    assert restarted.round() == (True, ["failed"])
    assert restarted.told("failed")[0]["kind"] == "local"
    assert restarted.round() == (True, [])


def test_an_empty_base_gets_as_many_as_are_asked_for(source, base):
    """Oldest first, since numbers only grow."""
    sync = Sync(base, source, versions=2)
    assert sync.round()[0] and [one["version"] for one in sync.told("published")] == [4, 7]


def test_later_every_newer_version_is_pulled(sync, source):
    """In their order; what the source has lost stays, until --keep deletes it."""
    sync.round()
    shutil.rmtree(str(source / "7"))
    for number in (8, 9):
        publish_recorded(source, number, more=number)
    assert sync.round()[0] and [one["version"] for one in sync.told("published")] == [8, 9]
    assert sync.local() == ["7", "8", "9"]


def test_what_would_be_pruned_at_once_is_not_pulled(source, base):
    """Old versions are deleted as by prune."""
    sync = Sync(base, source, keep=2)
    sync.round()
    for number in range(8, 13):
        publish_recorded(source, number, more=number)
    assert sync.round()[0] and [one["version"] for one in sync.told("published")] == [11, 12]
    assert sync.local() == ["11", "12"]
    assert [one["deleted"] for one in sync.told("pruned")] == [[str(base / "7")]]


def test_a_smaller_keep_takes_effect_without_a_new_version(source, base):
    """In the first round after the start."""
    Sync(base, source, versions=3).round()
    sync = Sync(base, source, keep=1)
    assert sync.round() == (True, ["pruned"]) and sync.local() == ["7"]


def test_a_version_whose_files_differ_is_not_published(sync, source):
    """An older one is, as there is none; the other one is tried again, and published once it is right."""
    good = (source / "7" / "variables" / "variables.data-00000-of-00001").read_bytes()
    damage(source / "7")
    is_current, kinds = sync.round()
    assert not is_current and kinds == ["pulling", "failed", "pulling", "published"] and sync.local() == ["4"]
    (failed,) = sync.told("failed")
    assert failed["kind"] == "damaged" and failed["version"] == 7
    assert failed["problem_details"][0]["code"] == "altered-files"
    assert sync.round()[1] == ["pulling", "failed"]  # version 3 is older than the one that is there
    assert sync.state.failures["damaged"] == 2 and sync.state.last_success is None
    (source / "7" / "variables" / "variables.data-00000-of-00001").write_bytes(good)
    assert sync.round()[0] and sync.local() == ["4", "7"]


def test_a_damaged_version_does_not_hold_up_newer_ones(sync, source):
    sync.round()
    for number in (8, 9):
        publish_recorded(source, number, more=number)
    damage(source / "8")
    assert sync.round() == (True, ["pulling", "failed", "pulling", "published"]) and sync.local() == ["7", "9"]
    assert sync.round() == (True, [])  # 8 is older by now


def test_a_damaged_version_is_not_downloaded_again_and_again(source, base):
    """But after a while, or when its files have changed."""
    damage(source / "7")
    sync = Sync(base, source, interval=600.0)
    assert sync.round()[1] == ["pulling", "failed", "pulling", "published"]
    assert sync.told("failed")[0]["retry_in"] == 600
    assert sync.round() == (False, [])
    shutil.rmtree(str(source / "7"))
    publish_recorded(source, 7, more=70)
    assert sync.round() == (True, ["pulling", "published"])


def test_a_version_that_tf_serving_could_not_load_is_not_published(sync, source):
    """Of another tool, without a recorded hash."""
    broken = make_version(source, "8")
    (broken / "variables" / "variables.index").write_bytes(b"")
    assert sync.round()[1] == ["pulling", "failed", "pulling", "published"] and sync.local() == ["7"]
    assert sync.told("failed")[0]["kind"] == "damaged"


def test_a_version_of_another_tool(sync, source):
    make_version(source, "8")
    assert sync.round()[0] and sync.local() == ["8"] and list_versions(sync.base)[0].is_complete


def test_an_incomplete_version_is_waited_for(sync, source):
    """It is told once; the newest complete one is the newest."""
    make_broken(source, "8")
    assert sync.round() == (True, ["incomplete", "pulling", "published"]) and sync.state.remote == 7
    assert sync.round() == (True, [])
    shutil.rmtree(str(source / "8"))
    publish_recorded(source, 8, more=8)
    assert sync.round() == (True, ["pulling", "published"]) and sync.state.remote == 8


def test_a_newer_local_version_is_told_and_stays(sync, source, base):
    """Once, and again when it is another one."""
    publish_recorded(base, 9)
    assert sync.round() == (True, ["ahead"]) and sync.local() == ["9"]
    assert sync.told("ahead")[0]["problem_details"][0]["code"] == "newer-than-source"
    assert sync.round() == (True, [])
    publish_recorded(base, 11)
    assert sync.round() == (True, ["ahead"])
    publish_recorded(source, 12)
    assert sync.round() == (True, ["pulling", "published"])


def test_a_source_without_versions(tmp_path, base):
    """It is told once, and is no success."""
    (tmp_path / "empty").mkdir()
    sync = Sync(base, tmp_path / "empty")
    assert sync.round() == (False, ["empty"]) and sync.round() == (False, [])
    assert not base.exists() and sync.state.last_success is None


def test_a_vanished_source(sync, source):
    """Failures are counted, and what is there stays."""
    sync.round()
    success = sync.state.last_success
    source.rename(source.with_name("gone"))
    for _ in range(2):
        assert sync.round() == (False, ["failed"]) and sync.told("failed")[0]["kind"] == "source"
    assert sync.state.failures["source"] == 2 and sync.state.last_success == success
    assert sync.local() == ["7"] and sync.state.has_version
    source.with_name("gone").rename(source)
    assert sync.round() == (True, []) and sync.state.last_success > success


def test_a_version_that_is_pruned_from_the_source_meanwhile(sync, source, monkeypatch):
    """The next one is tried."""
    download = sources._LocalVersion.download

    def pruned(version, directory, say):
        if version.number == 7:
            shutil.rmtree(version.url)
        download(version, directory, say)

    monkeypatch.setattr(sources._LocalVersion, "download", pruned)
    assert sync.round()[1] == ["pulling", "failed", "pulling", "published"] and sync.local() == ["4"]
    assert sync.told("failed")[0]["kind"] == "source"
    assert sync.round() == (True, [])


def test_the_last_of_two_spellings_is_the_version(sync, source):
    """As TF Serving takes it; a negative number is none."""
    make_broken(source, "007")
    make_version(source, "-8")
    assert sync.round()[0] and sync.local() == ["7"]


class ManyVersions(sources.Source):
    """A source with as many complete versions as a hostile store may list."""

    url = "s3://bucket/crnn"

    def __init__(self, files):
        self._versions = tuple(ManyVersion(number, files) for number in range(50000))

    def versions(self):
        return self._versions


class ManyVersion(sources.SourceVersion):
    missing, identity = (), None

    def __init__(self, number, files):
        super().__init__(number, f"s3://bucket/crnn/{number}")
        self._files = files

    def download(self, directory, say):
        copy_version(self._files, directory, link=False)


def test_a_source_of_many_versions(source, base):
    """Took quadratic time before a single one was pulled."""

    def pulled():
        with_timers(CPU_SECONDS, WALL_SECONDS)
        sync = Sync(base, source)
        sync.models[0].source = ManyVersions(source / "7")
        return sync.round(), sync.local()

    assert forked(pulled)[0] == ((True, ["pulling", "published"]), ["49999"])


def test_another_sync_is_faster(sync, source, base, monkeypatch):
    """That is no failure."""
    download = sources._LocalVersion.download

    def overtaken(version, directory, say):
        download(version, directory, say)
        publish_recorded(base, version.number)

    monkeypatch.setattr(sources._LocalVersion, "download", overtaken)
    assert sync.round() == (True, ["pulling"]) and sync.local() == ["7"] and sum(sync.state.failures.values()) == 0


def test_a_full_disk(sync, source, base, monkeypatch):
    """No other version is tried; the stage is removed, and later it goes on."""
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", full_disk)
        assert sync.round() == (False, ["pulling", "failed"])
    failed = sync.told("failed")[0]
    assert failed["kind"] == "local" and "free some space" in failed["error"]["message"]
    assert not base.exists()
    assert sync.round() == (True, ["pulling", "published"])


def test_an_unreadable_file_of_the_source_is_no_failure_of_the_disk(sync, source, monkeypatch):
    """As of a mount that has gone stale."""

    def stale(*_):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(shutil, "copyfileobj", stale)
    sync.round()
    assert {one["kind"] for one in sync.told("failed")} == {"source"}


def test_old_versions_that_cannot_be_deleted(sync, source, base, monkeypatch):
    """Are a failure of their own, and are tried again."""
    with monkeypatch.context() as patch:

        def refused(*_, **__):
            raise VersionError("no")

        def refused_in_part(*_, **__):
            raise NotDeleted("no", [not_deleted("1", "no")], [base / "2"])

        patch.setattr("ckpt2saved.versions.syncing.model.prune_versions", refused)
        assert sync.round() == (True, ["pulling", "published", "failed"])
        assert sync.round() == (True, ["failed"])
        patch.setattr("ckpt2saved.versions.syncing.model.prune_versions", refused_in_part)
        assert sync.round() == (True, ["pruned", "failed"])
        assert {one["kind"] for one in sync.told("failed")} == {"prune"}
        assert sync.told("pruned")[0]["deleted"] == [str(base / "2")]
    assert sync.round() == (True, [])


def test_a_request_to_stop_ends_a_download(sync, source, base, monkeypatch):
    """Nothing of it is left, also if something on the way has lost the exception."""

    def stopped(version, directory, say):
        (directory / "file").write_bytes(b"x")
        with contextlib.suppress(Stopped):
            sync.stop.request()

    monkeypatch.setattr(sources._LocalVersion, "download", stopped)
    with pytest.raises(Stopped):
        sync.round()
    assert not base.exists()


def test_what_a_killed_sync_has_left_is_removed_at_the_start(tmp_path, base):
    """Also if there is nothing to pull and nothing to prune."""
    (base / ".staging-abc").mkdir(parents=True)
    Sync(base, tmp_path / "gone")
    assert os.listdir(str(base)) == []


def test_several_models(tmp_path, source):
    """Each in the directory of its name; the failure of one is none of the other."""
    publish_recorded(tmp_path / "mounted" / "ctpn", 5)
    sync = Sync(tmp_path / "local", source, tmp_path / "mounted" / "ctpn", tmp_path / "mounted" / "none")
    assert sync.round()[0] is False and sync.local() == ["crnn", "ctpn"]
    assert [model.state.local for model in sync.models] == [7, 5, None]
    assert not sync.syncer.state.is_ready and [one["model"] for one in sync.told("failed")] == ["none"]


@pytest.mark.parametrize(
    ("urls", "options", "said"),
    [
        (["a/crnn", "b/crnn"], {}, "two of the URLs end in crnn"),
        (["a/crnn", "/"], {}, "found none"),
        (["{base}"], {}, "the source is the local base directory itself"),
        (["{base}/../crnn"], {}, "the source is the local base directory itself"),
        ([""], {}, "an empty path"),
        (["a"], {"versions": 3, "keep": 2}, "--versions 3: expected at most"),
    ],
)
def test_places_that_cannot_be(base, urls, options, said):
    base.mkdir()
    with pytest.raises(UsageError, match=said):
        Sync(base, *[url.format(base=base) for url in urls], **options)


def test_a_local_directory_as_url(source, base):
    """With characters that a URL quotes."""
    odd = source.with_name("c r%nn")
    source.rename(odd)
    assert Sync(base, f"file://{odd.parent}/c%20r%25nn").round()[0]
