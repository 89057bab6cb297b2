"""Versions in the listing of a store, and their download."""

from __future__ import annotations

import datetime
import os

import pytest

from ckpt2saved.errors import VersionError
from ckpt2saved.versions.content import content_sha256
from ckpt2saved.versions.object_stores.store import StoredObject, open_store
from ckpt2saved.versions.object_stores.versions_in_store import (
    StoredVersion,
    check_names,
    download_version,
    stored_versions,
)
from ckpt2saved.versions.provenance import write_provenance
from tests.fuzz.fuzzer import CPU_SECONDS, WALL_SECONDS, forked, with_timers
from tests.support.object_stores import memory_url, upload_directory
from tests.support.versions import make_version, names

DATA = "variables/variables.data-0000{}-of-0000{}"


def version(*names_and_sizes):
    now = datetime.datetime.now(datetime.timezone.utc)
    return StoredVersion(7, "7", tuple(StoredObject(f"7/{name}", size, now) for name, size in names_and_sizes))


def test_the_versions_of_a_base(url, tmp_path):
    """Oldest first; claims and stages are no versions."""
    for name in ("9", "10", "007"):
        upload_directory(url, make_version(tmp_path / name, name), name)
    store = open_store(url)
    store.create(".ckpt2saved/claims/11", b"{}")
    upload_directory(url, tmp_path / "9" / "9", ".staging-1")
    store.delete(["10/saved_model.pb"])
    found = stored_versions(store)
    assert [(one.number, one.name, one.is_complete) for one in found] == [
        (7, "007", True),
        (9, "9", True),
        (10, "10", False),
    ]
    assert found[0].size == sum(one.stat().st_size for one in (tmp_path / "007").rglob("*") if one.is_file())


@pytest.mark.parametrize(
    ("files", "missing"),
    [
        ([("saved_model.pb", 1)], ()),
        ([("saved_model.pbtxt", 1)], ()),
        ([("saved_model.pb", 0)], ("saved_model.pb",)),
        ([("variables/variables.index", 1), (DATA.format(0, 1), 1)], ("saved_model.pb",)),
        ([("saved_model.pb", 1), (DATA.format(0, 1), 1)], ("variables/variables.index",)),
        ([("saved_model.pb", 1), ("variables/variables.index", 1)], (DATA.format(0, 1),)),
        (
            [("saved_model.pb", 1), ("variables/variables.index", 1), (DATA.format(0, 3), 1), (DATA.format(2, 3), 1)],
            (DATA.format(1, 3),),
        ),
    ],
)
def test_what_the_listing_lacks(files, missing):
    assert version(*files).missing == missing
    assert version(*files).is_complete is not bool(missing)


def test_names_that_stand_for_billions_of_files():
    """Ten thousand data files, each one of a set of its own: a hundred missing ones are named, and no others made."""
    shards = [(f"variables/variables.data-00000-of-{count:05d}", 1) for count in range(80000, 90000)]
    found = version(("saved_model.pb", 1), ("variables/variables.index", 1), *shards).missing
    assert len(found) == 100 and found[0] == "variables/variables.data-00001-of-80000"


def test_a_version_is_downloaded(url, tmp_path):
    source = make_version(tmp_path, "7")
    write_provenance(source, {"format": 1, "content_sha256": content_sha256(source)})
    upload_directory(url, source, "7")
    store = open_store(url)
    (tmp_path / "copy").mkdir()
    download_version(store, stored_versions(store)[0], tmp_path / "copy")
    assert content_sha256(tmp_path / "copy") == content_sha256(source)
    assert names(tmp_path / "copy") == names(source)


def test_saved_model_pb_comes_last(tmp_path, monkeypatch):
    """So that a killed download leaves no directory that TF Serving would load."""
    url = memory_url()
    upload_directory(url, make_version(tmp_path, "7"), "7")
    store = open_store(url)
    (tmp_path / "copy").mkdir()
    keys, download = [], store.download
    monkeypatch.setattr(store, "download", lambda key, *more: (keys.append(key), download(key, *more)))
    download_version(store, stored_versions(store)[0], tmp_path / "copy")
    assert keys[-1] == "7/saved_model.pb" and len(keys) == 3


def test_altered_files_are_found(tmp_path):
    url = memory_url()
    source = make_version(tmp_path, "7")
    write_provenance(source, {"format": 1, "content_sha256": "0" * 64})
    upload_directory(url, source, "7")
    store = open_store(url)
    (tmp_path / "copy").mkdir()
    with pytest.raises(VersionError, match="its files are not those that were published"):
        download_version(store, stored_versions(store)[0], tmp_path / "copy")


def test_incomplete_and_vanishing_versions(tmp_path):
    url = memory_url()
    upload_directory(url, make_version(tmp_path, "7"), "7")
    store = open_store(url)
    (found,) = stored_versions(store)
    (tmp_path / "copy").mkdir()
    store.delete(["7/variables/variables.index"])
    with pytest.raises(VersionError, match=r"variables.index: deleted while the version was downloaded"):
        download_version(store, found, tmp_path / "copy")
    with pytest.raises(VersionError, match=r"7: incomplete, as variables/variables.index is missing"):
        download_version(store, stored_versions(store)[0], tmp_path / "copy")


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "/etc/x", "a//b", "a/", "a\nb", "a/./b", "saved_model.pb/x", "/".join("a" * 100)]
)
def test_names_that_lead_elsewhere_are_refused(name, tmp_path):
    store = open_store(memory_url())
    found = version(("saved_model.pb", 1), (name, 1))
    with pytest.raises(VersionError, match="can't be a file of a directory") as error:
        download_version(store, found, tmp_path)
    assert "\n" not in str(error.value) and os.listdir(str(tmp_path)) == []
    check_names(store, version(("saved_model.pb", 1), ("assets/..x", 1)))


def test_a_name_of_any_number_of_parts():
    """Took quadratic time: a store may list names of any length."""
    found = version(("saved_model.pb", 1), ("a/" * 100000 + "b", 1))

    def check():
        with_timers(CPU_SECONDS, WALL_SECONDS)
        with pytest.raises(VersionError, match="can't be a file of a directory"):
            check_names(open_store(memory_url()), found)
        return True

    assert forked(check)[0]


def test_an_object_that_has_become_larger(tmp_path):
    """However large it is: no more is written than was listed, and a byte."""
    store, found = open_store(memory_url()), version(("saved_model.pb", 100))
    (tmp_path / "a").write_bytes(bytes(1 << 20))
    store.upload(tmp_path / "a", "7/saved_model.pb")
    (tmp_path / "copy").mkdir()
    with pytest.raises(VersionError, match="7/saved_model.pb: more bytes, and 100 when it was listed"):
        download_version(store, found, tmp_path / "copy")
    assert (tmp_path / "copy" / "saved_model.pb").stat().st_size == 101


def test_a_version_larger_than_the_disk(tmp_path):
    store = open_store(memory_url())
    with pytest.raises(VersionError, match="are free, and .* has"):
        download_version(store, version(("saved_model.pb", 1 << 60)), tmp_path)
