"""The health endpoint of sync: what probes and Prometheus read, and what others may not do."""

from __future__ import annotations

import socket
import time
import urllib.error
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ckpt2saved.errors import ServerError
from ckpt2saved.versions.syncing import endpoint, state
from ckpt2saved.versions.syncing.endpoint import listening, parse_listen
from ckpt2saved.versions.syncing.metrics import metrics_text
from ckpt2saved.versions.syncing.state import ModelState, SyncState


@pytest.fixture
def running():
    """The state of a sync of two models."""
    return SyncState((ModelState("crnn"), ModelState('a"b\\c\nd')))


@pytest.fixture
def url(running):
    with listening(("127.0.0.1", 0), running) as url:
        yield url


def got(url, method="GET"):
    """Status, type and text of an answer."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=10) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


def test_readyz_waits_for_a_version_of_each_model(running, url):
    """And names those that lack one."""
    assert got(url + "/readyz")[0] == 503
    running.models[0].has_version = True
    assert got(url + "/readyz") == (503, "text/plain; charset=utf-8", 'a"b\\c\nd: no version yet\n')
    running.models[1].has_version = True
    assert got(url + "/readyz")[::2] == (200, "ok\n")


def test_healthz_while_something_happens(running, url, tmp_path, monkeypatch):
    """A step of the loop, or bytes in the stage of a long download."""
    assert got(url + "/healthz")[::2] == (200, "ok\n")
    now = [time.monotonic()]
    monkeypatch.setattr(state.time, "monotonic", lambda: now[0])
    running.step(tmp_path)
    now[0] += 600
    assert running.is_alive()
    (tmp_path / "part").write_bytes(b"1")
    now[0] += 600
    assert running.is_alive()
    now[0] += 600
    assert running.is_alive()
    now[0] += 600
    assert not running.is_alive()
    running.step()
    assert running.is_alive()


def test_a_stuck_loop_is_not_healthy(running, url, monkeypatch):
    monkeypatch.setattr(state, "_STUCK_AFTER", 0.0)
    assert got(url + "/healthz")[0] == 503


def test_the_metrics_are_what_prometheus_reads(running, url):
    """By the parser of its own client; labels with quotes, backslashes and line breaks come back as they were."""
    model = running.models[1]
    model.local, model.remote, model.last_success = 2**53, 8, 1700000000.5
    model.downloads, model.downloaded_bytes, model.download_seconds = 2, 12345, 1.5
    model.failures["damaged"] = 3
    status, kind, text = got(url + "/metrics")
    assert status == 200 and kind == "text/plain; version=0.0.4; charset=utf-8"
    families = {family.name: family for family in text_string_to_metric_families(text)}
    samples = {
        (sample.name, *sample.labels.values()): sample.value for one in families.values() for sample in one.samples
    }
    assert {name: family.type for name, family in families.items()} == {
        "ckpt2saved_sync_last_success_timestamp_seconds": "gauge",
        "ckpt2saved_sync_remote_version": "gauge",
        "ckpt2saved_sync_local_version": "gauge",
        "ckpt2saved_sync_ready": "gauge",
        "ckpt2saved_sync_downloads": "counter",
        "ckpt2saved_sync_downloaded_bytes": "counter",
        "ckpt2saved_sync_failures": "counter",
        "ckpt2saved_sync_download_duration_seconds": "summary",
        "ckpt2saved_sync_round_duration_seconds": "summary",
    }
    assert all(family.documentation for family in families.values())
    name = 'a"b\\c\nd'
    assert samples["ckpt2saved_sync_last_success_timestamp_seconds", name] == 1700000000.5
    assert ("ckpt2saved_sync_last_success_timestamp_seconds", "crnn") not in samples
    assert samples["ckpt2saved_sync_remote_version", name] == 8
    assert samples["ckpt2saved_sync_local_version", name] == 2**53
    assert samples["ckpt2saved_sync_downloads_total", name] == 2
    assert samples["ckpt2saved_sync_downloaded_bytes_total", name] == 12345
    assert samples["ckpt2saved_sync_download_duration_seconds_sum", name] == 1.5
    assert samples["ckpt2saved_sync_download_duration_seconds_count", name] == 2
    kinds = {key[2]: value for key, value in samples.items() if key[0].endswith("failures_total") and key[1] == name}
    assert kinds == {"source": 0, "damaged": 3, "local": 0, "prune": 0}


def test_a_name_that_is_no_utf_8():
    """Does not make the answer fail."""
    text = metrics_text(SyncState((ModelState("b\udcff"),)))
    assert r'model="b\\udcff"' in text and text.encode("utf-8")


def test_other_requests_are_refused(url):
    """Other paths and methods; what is told of the server is its name."""
    assert got(url + "/other")[0] == 404
    for method in ("POST", "PUT", "DELETE", "HEAD"):
        assert got(url + "/metrics", method)[0] == 501
    with urllib.request.urlopen(url + "/healthz?probe=1", timeout=10) as answer:
        assert answer.headers["Server"] == "ckpt2saved"


def sent(url, data):
    """What is answered to these bytes, until the connection is closed."""
    host, _, port = url[len("http://") :].rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        try:
            connection.sendall(data)
            return b"".join(iter(lambda: connection.recv(65536), b""))
        except (BrokenPipeError, ConnectionResetError):
            return b""


def test_long_requests_are_cut_off(url):
    """A line or headers without end are not read."""
    for data in (b"GET /" + b"a" * 100000, b"GET /healthz HTTP/1.1\r\n" + b"x: y\r\n" * 20000):
        assert b" 200 " not in sent(url, data)
    assert got(url + "/healthz")[0] == 200


def test_slow_requests_are_cut_off(url, monkeypatch):
    """As many as fit at once do not keep others out for long."""
    monkeypatch.setattr(endpoint, "_MOST_SECONDS", 0.2)
    host, _, port = url[len("http://") :].rpartition(":")
    slow = [socket.create_connection((host, int(port)), timeout=30) for _ in range(endpoint._MOST_REQUESTS + 4)]
    try:
        for connection in slow:
            assert connection.recv(100) == b""
    finally:
        for connection in slow:
            connection.close()
    assert got(url + "/healthz")[0] == 200


def test_a_request_that_comes_byte_by_byte_is_cut_off(url, monkeypatch):
    """However often a byte comes: the time for all of it is limited."""
    monkeypatch.setattr(endpoint, "_MOST_SECONDS", 0.2)
    host, _, port = url[len("http://") :].rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection, pytest.raises(ConnectionError):
        for _ in range(200):
            connection.sendall(b"a")
            time.sleep(0.02)


def test_an_address_that_is_taken(url):
    port = int(url.rpartition(":")[2])
    for address in (("127.0.0.1", port), ("nowhere.invalid", 0), ("256.1.1.1", 0)):
        with pytest.raises(ServerError, match="--listen: could not listen on .*; expected an address of this machine"):
            with listening(address, SyncState(())):
                pass


def test_ipv6(running):
    try:
        with listening(("::1", 0), running) as url:
            assert got(url + "/healthz")[0] == 200
    except ServerError:
        pytest.skip("this machine has no IPv6")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("127.0.0.1:9090", ("127.0.0.1", 9090)),
        (":0", ("", 0)),
        ("[::1]:80", ("::1", 80)),
        ("a.b-c:65535", ("a.b-c", 65535)),
    ],
)
def test_addresses(text, found):
    assert parse_listen(text) == found


@pytest.mark.parametrize("text", ["", "9090", "host", "host:", "host:65536", "::1:80", "a b:1", "http://a:1", ":1\n"])
def test_what_is_no_address(text):
    with pytest.raises(ValueError, match="is no HOST:PORT"):
        parse_listen(text)
