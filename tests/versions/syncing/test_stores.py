"""Versions that are pulled from object stores."""

from __future__ import annotations

import shutil

import pytest

from ckpt2saved.errors import VersionError
from ckpt2saved.versions.object_stores.store import ObjectStore, open_store
from tests.support.object_stores import memory_url, s3_server, s3_url, upload_directory
from tests.support.syncs import Sync
from tests.support.versions import make_version, publish_recorded


@pytest.fixture(scope="module")
def server():
    with s3_server() as endpoint:
        yield endpoint


@pytest.fixture(params=["memory", "s3"])
def url(request, tmp_path):
    """A base URL with the versions 3, 4 and 7."""
    if request.param == "s3":
        request.getfixturevalue("server")
    url = memory_url() if request.param == "memory" else s3_url()
    for number in (3, 4, 7):
        upload(url, tmp_path / "published", number)
    return url


def upload(url, folder, number):
    upload_directory(url, publish_recorded(folder, number, more=number), str(number))


@pytest.fixture
def sync(url, base):
    return Sync(base, url)


def test_versions_are_pulled(sync, url, base, tmp_path):
    """The newest one, and later every newer one; with the files that were published."""
    assert sync.round() == (True, ["pulling", "published"]) and sync.local() == ["7"]
    assert sync.told("published")[0]["url"] == f"{url}/7"
    for path in (tmp_path / "published" / "7").rglob("*"):
        if path.is_file():
            assert (base / "7" / path.relative_to(tmp_path / "published" / "7")).read_bytes() == path.read_bytes()
    for number in (8, 9):
        upload(url, tmp_path / "published", number)
    assert sync.round()[0] and sync.local() == ["7", "8", "9"] and sync.round() == (True, [])


def test_a_version_whose_files_differ(sync, url, tmp_path):
    """Is not published; an older one is."""
    altered = tmp_path / "altered"
    altered.write_bytes(
        (tmp_path / "published" / "7" / "variables/variables.data-00000-of-00001").read_bytes()[:-1] + b"x"
    )
    open_store(url).upload(altered, "7/variables/variables.data-00000-of-00001")
    assert sync.round() == (False, ["pulling", "failed", "pulling", "published"]) and sync.local() == ["4"]
    (failed,) = sync.told("failed")
    assert failed["kind"] == "damaged" and failed["problem_details"][0]["code"] == "altered-files"
    upload_directory(url, tmp_path / "published" / "7", "7")
    assert sync.round() == (True, ["pulling", "published"]) and sync.local() == ["4", "7"]


def test_a_version_that_is_being_uploaded(sync, url, tmp_path):
    """Is waited for."""
    version = publish_recorded(tmp_path / "published", 8, more=8)
    graph = tmp_path / "saved_model.pb"
    (version / "saved_model.pb").rename(graph)
    upload_directory(url, version, "8")
    assert sync.round() == (True, ["incomplete", "pulling", "published"]) and sync.local() == ["7"]
    open_store(url).upload(graph, "8/saved_model.pb")
    assert sync.round() == (True, ["pulling", "published"]) and sync.local() == ["7", "8"]


def test_a_version_of_another_tool(sync, url, tmp_path):
    """Has no recorded hash."""
    upload_directory(url, make_version(tmp_path / "others", "8"), "8")
    assert sync.round()[0] and sync.local() == ["8"]


def test_a_cut_off_download(sync, url, monkeypatch):
    """Shows in the size, also of a version without a recorded hash."""
    download = ObjectStore.download

    def cut_off(store, key, path, most):
        download(store, key, path, most)
        if key == "7/variables/variables.data-00000-of-00001":
            path.write_bytes(path.read_bytes()[:-1])

    monkeypatch.setattr(ObjectStore, "download", cut_off)
    assert sync.round()[1] == ["pulling", "failed", "pulling", "published"] and sync.local() == ["4"]
    assert sync.told("failed")[0]["kind"] == "source"


def test_too_little_space(sync, base, monkeypatch):
    """Nothing is downloaded, and no other version is tried."""
    usage = type(shutil.disk_usage("/"))(100, 100, 0)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage)
        assert sync.round() == (False, ["pulling", "failed"]) and not base.exists()
    assert sync.told("failed")[0]["kind"] == "local"
    assert sync.round()[0]


def test_a_name_that_leads_out_of_the_version(sync, url, base, tmp_path):
    """Is refused."""
    (tmp_path / "evil").write_bytes(b"x")
    open_store(url).upload(tmp_path / "evil", "7/../../evil" if url.startswith("s3") else "7/a\nb")
    assert sync.round()[1] == ["pulling", "failed", "pulling", "published"] and sync.local() == ["4"]
    assert "can't be a file of a directory" in sync.told("failed")[0]["error"]["message"]


def test_a_vanished_bucket(server, base, tmp_path):
    """Is a failure; the local versions stay, and a server is ready."""
    import s3fs

    files = s3fs.S3FileSystem(client_kwargs={"endpoint_url": server}, skip_instance_cache=True)
    files.mkdir("vanishing")
    upload("s3://vanishing/crnn", tmp_path / "published", 3)
    sync = Sync(base, "s3://vanishing/crnn")
    assert sync.round()[0]
    files.rm("vanishing", recursive=True)
    for _ in range(2):
        assert sync.round() == (False, ["failed"])
    assert (
        sync.told("failed")[0]["kind"] == "source"
        and "s3://vanishing/crnn" in sync.told("failed")[0]["error"]["message"]
    )
    assert sync.local() == ["3"] and sync.syncer.state.is_ready and sync.state.failures["source"] == 2


def test_an_emptied_bucket(sync, url):
    """Is told; the local versions stay."""
    sync.round()
    store = open_store(url)
    store.delete([one.key for one in store.objects()])
    assert sync.round() == (False, ["empty"]) and sync.local() == ["7"] and sync.state.remote is None


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://key:secret@bucket/models", "there are credentials in the URL"),
        ("nothing://bucket/models", "its driver is not installed|could not open it"),
        ("s3://", "the bucket is missing"),
    ],
)
def test_urls_that_cannot_be(base, url, said):
    """Are refused at the start."""
    pytest.importorskip("fsspec")
    with pytest.raises(VersionError, match=said):
        Sync(base, url)
