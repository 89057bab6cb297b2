"""Old versions are deleted, and never one that is needed."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ckpt2saved.errors import NotDeleted, VersionError
from ckpt2saved.versions import (
    bump_version,
    deletion,
    lock,
    prune_versions,
    stage,
)
from ckpt2saved.versions.health import health
from tests.support.versions import (
    PUBLISHED,
    ROOT,
    as_nobody,
    is_locked,
    make_broken,
    make_version,
    names,
    publish,
)


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
    with pytest.raises(NotDeleted, match="an old version could not be deleted") as error:
        prune_versions(base, 1)
    (hidden,) = (base / name for name in names(base) if name != "2")
    assert [(one.where, one.found) for one in error.value.problems] == [
        ("1", f"no version any more, but files are left in {hidden}: Input/output error ({hidden})")
    ]
    assert seen == [(".pruned-", ["2"], ["saved_model.pb", "variables"])]

    monkeypatch.setattr(shutil, "rmtree", real)
    assert publish(base) == base / "3"
    assert names(base) == ["2", "3"]


def test_a_deletion_is_on_disk_before_the_first_file_goes(base, monkeypatch):
    """A machine that stops must not bring back the number of a version whose files are half deleted."""
    for name in "12":
        make_version(base, name)
    steps, remove = [], deletion.remove_tree
    monkeypatch.setattr(deletion, "sync", lambda path: steps.append((path.name, names(base)[1:])))
    monkeypatch.setattr(deletion, "remove_tree", lambda path: steps.append("removed") or remove(path))
    prune_versions(base, 1)

    assert steps == [(base.name, ["2"]), "removed"]


def test_what_a_killed_prune_hid_is_on_disk_before_its_first_file_goes(base, monkeypatch):
    """It may have been killed before it could write that to disk; where that fails nothing is deleted yet."""
    make_version(base, "1")
    make_version(base, ".pruned-0123")

    def fail(path):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(stage, "sync", fail)
        stage.remove_leftovers(base)
    assert names(base) == [".pruned-0123", "1"]
    stage.remove_leftovers(base)
    assert names(base) == ["1"]


def test_another_prune_may_delete_a_version_while_this_one_looks_at_it(base, monkeypatch):
    """Nothing is left to delete then, and that is no error."""
    for name in "123":
        make_version(base, name)
    real = os.listdir

    def listdir(path):
        if os.path.basename(path) == "2":
            shutil.rmtree(path)
        return real(path)

    monkeypatch.setattr(os, "listdir", listdir)
    assert [version.number for version in prune_versions(base, 1)] == [1]


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_version_that_cannot_be_looked_at_is_said_so(base, monkeypatch, dry_run):
    """A failing disk, or a directory of another user's; others are deleted."""
    for name in "012":
        make_version(base, name)
    real = os.listdir

    def listdir(path):
        if os.path.basename(path) == "1":
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        return real(path)

    monkeypatch.setattr(os, "listdir", listdir)
    with pytest.raises(NotDeleted, match="1: could not look at it: Input/output error") as error:
        prune_versions(base, 1, dry_run=dry_run)
    monkeypatch.undo()
    assert error.value.deleted == (base / "0",)
    assert names(base) == (["0", "1", "2"] if dry_run else ["1", "2"])


@pytest.mark.skipif(os.geteuid() != 0, reason="needs two users")
@pytest.mark.parametrize("closed", ["4", "4/variables"])
def test_versions_of_another_user_do_not_keep_the_others(tmp_path, closed):
    """They stay as they are, and all of them are told of at once."""
    base = tmp_path / "crnn"
    for name in "123456":
        make_version(base, name)
    for path in (base, *base.rglob("*")):
        os.chown(str(path), 65534, 65534)
    for path in (base / closed, base / "2"):
        os.chown(str(path), 0, 0)
    for parent in (base, *list(base.parents)[:-2]):
        parent.chmod(0o755)
    with as_nobody(), pytest.raises(NotDeleted) as error:
        prune_versions(base, 1)

    assert error.value.deleted == (base / "5", base / "3", base / "1")
    assert error.value.message == f"{base}: 2 old versions could not be deleted, 3 could"
    assert [(one.code, one.where, one.found) for one in error.value.problems] == [
        ("not-deleted", "4", f"Permission denied ({base / closed})"),
        ("not-deleted", "2", f"Permission denied ({base / '2'})"),
    ]
    assert names(base) == ["2", "4", "6"]
    assert health(base / "2").problems == health(base / "4").problems == ()


def test_the_lock_is_not_waited_for_again_for_each_version(base, monkeypatch):
    """What was deleted until then is told."""
    for name in "1234":
        make_version(base, name)
    tries = []

    @contextlib.contextmanager
    def locked(directory, say):
        tries.append(directory)
        if len(tries) > 2:
            raise VersionError(f"{directory}: held")
        with lock.locked(directory, say):
            yield

    monkeypatch.setattr(deletion, "locked", locked)  # the first time for what killed processes have left
    with pytest.raises(NotDeleted, match="\n  - 2: .*: held") as error:
        prune_versions(base, 1)
    assert error.value.deleted == (base / "3",)
    assert names(base) == ["1", "2", "4"] and len(tries) == 3


def test_a_deletion_that_fails_does_not_end_the_others(base, monkeypatch):
    """Whatever the disk, or the tree of the version, has."""
    for name in "1234":
        make_version(base, name)
    failures = [VersionError("nested too deeply"), OSError(errno.EIO, os.strerror(errno.EIO))]
    real = deletion.remove_tree

    def remove_tree(path):
        if failures:
            raise failures.pop()
        real(path)

    monkeypatch.setattr(deletion, "remove_tree", remove_tree)
    with pytest.raises(NotDeleted) as error:
        prune_versions(base, 1)
    assert error.value.deleted == (base / "1",)
    assert [one.found.rpartition(": ")[2] for one in error.value.problems] == [
        "Input/output error",
        "nested too deeply",
    ]
    assert names(base)[-1:] == ["4"]


def test_a_message_lists_some_of_many(base, monkeypatch, run_apart):
    """And how many more there are; JSON has all."""
    for number in range(1, 15):
        make_version(base, str(number))

    def hide(path):
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr(deletion, "hide", hide)
    result = run_apart("prune", base, "--keep", 1, "--json")
    lines = [line for line in result.stderr.splitlines() if line.startswith("  - ")]
    assert result.exit_code == 1 and "13 old versions could not be deleted" in result.stderr
    assert [line.split(":")[0] for line in lines[:-1]] == [f"  - {number}" for number in range(13, 3, -1)]
    assert lines[-1] == "  - and 3 more; --json lists all"
    content = json.loads(result.stdout)
    assert [one["where"] for one in content["problem_details"]] == [str(number) for number in range(13, 0, -1)]
    assert len(content["problems"]) == 13


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
