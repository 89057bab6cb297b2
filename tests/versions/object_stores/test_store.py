"""Listing, reading and writing of objects, and what is said of failures."""

from __future__ import annotations

import datetime
import hashlib
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from ckpt2saved.errors import VersionError
from ckpt2saved.files.reading import TooLarge
from ckpt2saved.versions.object_stores.drivers import driver_of
from ckpt2saved.versions.object_stores.store import open_store
from ckpt2saved.versions.object_stores.url import checked_url, is_store_url, local_path
from tests.support.object_stores import is_exclusive_moto, memory_url, s3_url


@pytest.mark.parametrize(
    ("text", "is_url"),
    [
        ("s3://bucket/models", True),
        ("gs://bucket", True),
        ("S3://bucket", True),
        ("file:///models", False),
        ("FILE:///models", False),
        ("file:/models", False),
        ("models/crnn", False),
        ("s3:/bucket", False),
        ("C:\\models", False),
    ],
)
def test_what_is_a_store(text, is_url):
    assert is_store_url(text) is is_url


def test_a_file_url_is_a_local_path():
    assert str(local_path("file:///models/my%20crnn")) == "/models/my crnn"
    assert str(local_path("models/crnn")) == "models/crnn"


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("s3://key:secret@bucket/m", "credentials in the URL"),
        ("s3:///models", "the bucket is missing"),
        ("s3://bucket//m", "a part of the path is empty"),
        ("s3://bucket/../m", "'.' or '..'"),
        ("s3://bucket/m?versionId=1", "a query"),
        ("s3://bucket/\x1b[2J", "control characters"),
        ("https://host/m", "not a URL of an object store"),
    ],
)
def test_urls_that_are_refused(url, found):
    with pytest.raises(VersionError, match=found) as error:
        checked_url(url)
    assert "secret" not in str(error.value) and "\x1b" not in str(error.value)


def test_a_url_is_shown_as_it_is_used():
    assert checked_url("S3://bucket/models/crnn/") == "s3://bucket/models/crnn"


def test_objects_are_listed_afresh(url, tmp_path):
    """Also those that another store has written or deleted since, and none whose name only begins in the same way."""
    (tmp_path / "a").write_bytes(b"abc")
    store, other = open_store(url), open_store(url)
    assert store.objects() == () and store.children() == ()
    other.upload(tmp_path / "a", "7/variables/a")
    other.upload(tmp_path / "a", "7/saved_model.pb")
    other.upload(tmp_path / "a", "77/saved_model.pb")
    open_store(url + "2").upload(tmp_path / "a", "8/saved_model.pb")
    found = store.objects()
    assert [(one.key, one.size) for one in found] == [
        ("7/saved_model.pb", 3),
        ("7/variables/a", 3),
        ("77/saved_model.pb", 3),
    ]
    now = datetime.datetime.now(datetime.timezone.utc)
    assert all(abs(now - one.modified) < datetime.timedelta(hours=1) for one in found)
    assert [one.key for one in store.objects("7")] == ["7/saved_model.pb", "7/variables/a"]
    assert store.children() == ("7", "77")
    other.delete(["7/saved_model.pb", "7/variables/a", "7/never was there"])
    assert [one.key for one in store.objects()] == ["77/saved_model.pb"]
    assert store.children() == (("77",) if url.startswith("s3:") else ("7", "77"))  # memory has empty directories


def test_objects_are_read_copied_and_downloaded(url, tmp_path):
    content = bytes(range(256)) * 40000  # more than one request
    (tmp_path / "a").write_bytes(content)
    (tmp_path / "empty").write_bytes(b"")
    store = open_store(url)
    store.upload(tmp_path / "a", "a")
    store.upload(tmp_path / "empty", "empty")
    store.copy("a", "7/b")
    store.download("7/b", tmp_path / "b", len(content))
    assert (tmp_path / "b").read_bytes() == content
    assert store.read("7/b", len(content)) == content and store.read("empty", 10) == b""
    with pytest.raises(TooLarge, match="more than 10 bytes"):
        store.read("a", 10)
    store.download("a", tmp_path / "cut off", 10)
    assert (tmp_path / "cut off").stat().st_size == 11  # by which it is seen to be another object
    assert store.sha256("a", len(content)) == hashlib.sha256(content).hexdigest()
    assert store.sha256("a", len(content) - 2) != hashlib.sha256(content).hexdigest()
    with pytest.raises(FileNotFoundError):
        store.read("c", 10)
    with pytest.raises(FileNotFoundError):
        store.download("c", tmp_path / "c", 10)


def listing(monkeypatch, **details):
    """A store that lists one object with these details."""
    store = open_store(memory_url())
    monkeypatch.setattr(
        type(store._files), "find", lambda files, path, detail: {f"{path}/7/a": dict(details, type="file")}
    )
    return store


@pytest.mark.parametrize("size", [-1, 2**63, 10**400, float("nan"), float("inf"), "x", "9" * 5000, [1]])
def test_a_size_that_no_object_has(monkeypatch, size):
    """As a server or a driver may say it."""
    with pytest.raises(VersionError, match="crnn/7/a: the store lists it with a size that no object has; look at it"):
        listing(monkeypatch, size=size).objects()


def test_times_that_are_none(monkeypatch):
    """The object has no time then: nothing is deleted because of its age."""
    zone = datetime.timezone(datetime.timedelta(hours=14))
    first = datetime.datetime(1, 1, 1, tzinfo=zone)
    for value in (first, 1e300, float("nan"), -(10**400), "yesterday", "0000-00-00T00:00:00", [2024], {}):
        assert listing(monkeypatch, LastModified=value).objects()[0].modified is None
    (found,) = listing(monkeypatch, mtime=first.replace(year=2024)).objects()
    assert found.modified.isoformat() == "2023-12-31T10:00:00+00:00"


def test_a_wildcard_in_a_name_is_no_pattern(url, tmp_path):
    """Anybody who may write to the bucket can choose names."""
    (tmp_path / "a").write_bytes(b"abc")
    store = open_store(url)
    for key in ("7/a", "7/*", "7/[a]"):
        store.upload(tmp_path / "a", key)
    store.delete(["7/*"])
    assert [one.key for one in store.objects()] == ["7/[a]", "7/a"]


def test_an_object_is_created_once(url):
    store = open_store(url)
    if url.startswith("s3:") and not is_exclusive_moto():
        pytest.skip("this release of moto ignores the condition")

    def create(number):
        try:
            store.create("claims/1", str(number).encode())
        except FileExistsError:
            return None
        return number

    with ThreadPoolExecutor(8) as threads:
        (winner,) = [number for number in threads.map(create, range(8)) if number is not None]
    assert store.read("claims/1", 10) == str(winner).encode()
    assert store.creates_exclusively


def test_other_objects_are_written_without_the_condition(url, tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    store = open_store(url)
    store.create("claims/1", b"")
    for _ in range(2):
        store.upload(tmp_path / "a", "a")


def test_a_store_of_another_kind_creates_after_a_look():
    files = _Files()
    driver = driver_of("sftp")
    assert not driver.creates_exclusively
    driver.create(files, "a", b"1")
    with pytest.raises(FileExistsError):
        driver.create(files, "a", b"2")
    assert files.written == {"a": b"1"}


class _Refused(Exception):
    """An answer of a store, as drivers raise it."""

    def __init__(self, code):
        super().__init__(f"status {code}")
        self.code = code


class _Cloud:
    """A file system of Google or Azure that answers a status."""

    _location = "https://storage"

    def __init__(self, code):
        self.requests = []
        self._code = code

    def call(self, *arguments, **keywords):
        self.requests.append((arguments, keywords))
        if self._code != 200:
            raise _Refused(self._code)

    pipe_file = call


@pytest.mark.parametrize(
    ("scheme", "condition"), [("gs", ("ifGenerationMatch", "0")), ("az", ("overwrite", False))], ids=["google", "azure"]
)
def test_other_clouds_are_asked_to_create_once(scheme, condition):
    """What Azurite and fake-gcs-server understood; 412 and 409 are of an object that is there."""
    files = _Cloud(200)
    driver_of(scheme).create(files, "bucket/base/claims/1", b"content")
    ((arguments, keywords),) = files.requests
    assert condition in keywords.items()
    assert "bucket/base/claims/1" in arguments or arguments == ("POST", "https://storage/upload/storage/v1/b/bucket/o")
    for code in (409, 412):
        with pytest.raises(FileExistsError):
            driver_of(scheme).create(_Cloud(code), "bucket/base/claims/1", b"content")
    with pytest.raises(_Refused):
        driver_of(scheme).create(_Cloud(403), "bucket/base/claims/1", b"content")


class _Files:
    """A file system of fsspec with one kind of file."""

    def __init__(self):
        self.written = {}

    def exists(self, path):
        return path in self.written

    def pipe_file(self, path, data):
        self.written[path] = data


def test_a_missing_bucket(server, tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    store = open_store("s3://no-such-bucket/crnn")
    for call in (store.objects, store.children, lambda: store.upload(tmp_path / "a", "a")):
        with pytest.raises(VersionError, match="s3://no-such-bucket/crnn: could not .*; create the bucket"):
            call()


def test_missing_rights(server, monkeypatch):
    store = open_store(s3_url())

    def refuse(*_, **__):
        raise PermissionError("Access\x1b Denied")

    monkeypatch.setattr(type(store._files), "find", refuse)
    with pytest.raises(VersionError, match=r"could not list it: Access\? Denied; use credentials that may"):
        store.objects()


def test_a_store_that_cannot_be_reached(server, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    store = open_store("s3://models/crnn")
    monkeypatch.setattr(type(store._files), "retries", 1)
    with pytest.raises(VersionError, match=r"EndpointConnectionError.*; check the network"):
        store.objects()


def test_missing_credentials(server, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(VersionError, match="give this process credentials"):
        open_store("s3://models/crnn").objects()


@pytest.mark.parametrize(("url", "extra"), [("s3://b/m", "s3"), ("gs://b/m", "gcs"), ("az://b/m", "azure")])
def test_a_driver_that_is_not_installed(monkeypatch, url, extra):
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(VersionError, match=rf"pip install 'ckpt2saved\[{extra}\]'"):
        open_store(url)


def test_an_unknown_scheme():
    pytest.importorskip("fsspec")
    with pytest.raises(VersionError, match="nonsense://b/m: could not open it: .*nonsense"):
        open_store("nonsense://b/m")


def test_a_local_error_of_a_download_names_the_file(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    store = open_store(memory_url())
    store.upload(tmp_path / "a", "a")
    with pytest.raises(FileExistsError, match="tmp"):
        store.download("a", tmp_path / "a", 10)
