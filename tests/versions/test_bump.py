"""An existing SavedModel is published as the next version."""

from __future__ import annotations

import datetime
import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from ckpt2saved.errors import VersionError
from ckpt2saved.versions import (
    PROVENANCE,
    BumpOptions,
    bump,
    bump_version,
    copy_version,
    read_provenance,
    stage,
    staged,
)
from ckpt2saved.versions.content import content_sha256
from ckpt2saved.versions.health import health
from ckpt2saved.versions.provenance import write_provenance
from tests.support.versions import (
    INDEX,
    NOW,
    PUBLISHED,
    fill,
    full_disk,
    make_broken,
    make_version,
    mode,
    names,
    open_to_all,
    publish,
)


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
    result = bump_version(base, 100000, options=BumpOptions(now=NOW))

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
    result = bump_version(
        base, Path("crnn/../crnn/3") if source == "directory" else source, options=BumpOptions(now=NOW)
    )

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
    assert str(error.value) == f"{base}: there is no version 7; the base directory has no versions"

    assert bump_version(base, "./7").republished_from == str(tmp_path / "7")
    with pytest.raises(VersionError) as error:
        bump_version(base, "7")
    assert str(error.value) == f"{base}: there is no version 7; expected one of 1"


def test_a_foreign_saved_model_is_copied(base, tmp_path):
    """Its owner may still write to it, so it shares nothing; it gets a provenance, and modes that a server can read."""
    foreign = make_version(tmp_path, "elsewhere")
    (foreign / "saved_model.pb").chmod(0o600)
    (foreign / "variables").chmod(0o700)
    result = bump_version(base, foreign, options=BumpOptions(now=NOW))

    assert result.path == base / "1"
    assert shared(foreign, result.path) == []
    assert json.loads((result.path / PROVENANCE).read_text(encoding="utf-8")) == {
        "format": 1,
        "content_sha256": content_sha256(foreign),
        "republished": {"from": str(foreign), "time": "2024-05-06T07:08:09+00:00"},
    }
    assert health(result.path).problems == ()
    assert (mode(foreign / "saved_model.pb"), mode(foreign / "variables")) == (0o600, 0o700)
    assert names(foreign) == ["saved_model.pb", "variables"]


def test_a_version_of_another_base_is_copied(base, tmp_path):
    """Another model's directory has another owner."""
    elsewhere = publish(tmp_path / "other", provenance=PUBLISHED)
    result = bump_version(base, elsewhere, options=BumpOptions(now=NOW))

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
    new = bump_version(base, 1, options=BumpOptions(now=NOW)).path

    assert shared(old, new) == []
    assert sorted(json.loads((new / PROVENANCE).read_text(encoding="utf-8"))) == [
        "content_sha256",
        "format",
        "republished",
    ]


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
        f"{base}/2: not republished, since TF Serving could not load it\n"
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

    assert str(error.value) == f"{base}: there is no version to republish; name a SavedModel directory"


def test_a_dry_run_says_the_number_and_changes_nothing(base, tmp_path):
    """It refuses what the real run refuses."""
    publish(base, 7)
    before = names(base)

    assert bump_version(base, options=BumpOptions(dry_run=True)).path == base / "8"
    assert bump_version(base, options=BumpOptions(requested=70, dry_run=True)).number == 70
    assert bump_version(tmp_path / "new", base / "7", options=BumpOptions(dry_run=True)).path == tmp_path / "new" / "1"
    with pytest.raises(VersionError, match="ask for 8 or more"):
        bump_version(base, options=BumpOptions(requested=7, dry_run=True))
    make_broken(base, "9")
    with pytest.raises(VersionError, match="could not load it"):
        bump_version(base, 9, options=BumpOptions(dry_run=True))
    assert names(base) == before + ["9"]
    assert not (tmp_path / "new").exists()


def test_a_number_may_be_asked_for_when_publishing_again(base):
    """Above all the others."""
    publish(base)

    assert bump_version(base, options=BumpOptions(requested=20)).path == base / "20"


def test_a_disk_that_fills_up_while_copying_leaves_nothing(base, tmp_path, monkeypatch):
    """And is said so."""
    foreign = make_version(tmp_path, "elsewhere")
    monkeypatch.setattr(shutil, "copyfileobj", full_disk)
    with pytest.raises(VersionError) as error:
        bump_version(base, foreign)

    assert str(error.value).startswith(f"{base}: could not copy {foreign}: No space left on device (")
    assert str(error.value).endswith("/saved_model.pb); free some space there and run again")
    assert not base.exists()


def test_a_version_that_is_published_is_not_published_twice(base, monkeypatch):
    """The disk fails once it is visible, and the source can't be looked at any more: that is no reason to try again."""
    publish(base, provenance=PUBLISHED)
    identities = [bump._identity(base / "1")] * 2

    def fail(path):
        if path == base:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr(stage, "sync", fail)
    monkeypatch.setattr(bump, "_identity", lambda directory: identities.pop() if identities else None)
    with pytest.raises(VersionError, match=f"{base / '2'} is published"):
        bump_version(base)

    assert names(base) == ["1", "2"]


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
    with pytest.raises(VersionError, match="elsewhere/assets: a symbolic link leads to one of its parent directories"):
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
