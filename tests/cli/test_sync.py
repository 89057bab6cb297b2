"""The command `sync` in processes of its own: signals, kill -9, a full disk, and what it prints."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

import ckpt2saved
from ckpt2saved.errors import UsageError
from ckpt2saved.versions import list_versions, numbered_children, read_provenance
from ckpt2saved.versions.content import content_sha256
from tests.support.command_line import ROOT, heed_interrupts
from tests.support.object_stores import s3_server, s3_url, upload_directory
from tests.support.schemas import misfits_of_output
from tests.support.versions import names, publish_recorded

MEGABYTES = 1 << 20


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "mounted" / "crnn"
    for number in (1, 2):
        publish_recorded(folder, number, more=number * MEGABYTES)
    return folder


@pytest.fixture
def base(tmp_path):
    return tmp_path / "crnn"


def started(*arguments, **keywords):
    keywords.setdefault("preexec_fn", heed_interrupts)
    return subprocess.Popen(
        [sys.executable, "-m", "ckpt2saved", "sync", *map(str, arguments)],
        env=dict(os.environ, PYTHONPATH=str(ROOT), PYTHONUNBUFFERED="1"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **keywords,
    )


@contextlib.contextmanager
def ended(process):
    """Kill the process if it still runs."""
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def finished(*arguments, **keywords):
    """Exit code, lines of stdout, and stderr."""
    with ended(started(*arguments, **keywords)) as process:
        out, err = process.communicate(timeout=120)
    assert "Traceback" not in err, err
    return process.returncode, out.splitlines(), err


def events(lines):
    found = [json.loads(line) for line in lines]
    assert [text for event in found for text in misfits_of_output("sync", event)] == []
    return found


def test_once(source, base):
    """Published directories on stdout; 1 if a model lacks its newest version."""
    assert finished(source, base, "--once") == (
        0,
        [str(base / "2")],
        f"syncing     {source} for {base}\npulling     {source}/2 for {base}\n"
        "stopped     each model has its newest version\n",
    )
    code, lines, err = finished(source, source.with_name("ctpn"), base.parent / "local", "--once", "--quiet")
    assert code == 1 and lines == [str(base.parent / "local" / "crnn" / "2")]
    assert (
        err
        == f"failed: {source.with_name('ctpn')}: there is no such directory; expected the base directory of a model\n"
    )


def test_each_event_is_a_line_of_json(source, base):
    """With what its schema says."""
    code, lines, _ = finished(source, base, "--once", "--json")
    found = events(lines)
    assert code == 0 and [event["event"] for event in found] == ["syncing", "pulling", "published", "stopped"]
    assert found[0]["models"] == [{"model": "crnn", "url": str(source), "path": str(base)}]
    assert found[2]["bytes"] > 2 * MEGABYTES and found[3]["reason"] == "once"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_loop(source, base, number):
    """New versions until then, and answers to probes; exit code 0."""
    with ended(started(source, base, "--interval", "0.1", "--listen", "127.0.0.1:0", "--json")) as process:
        lines = [process.stdout.readline() for _ in range(3)]
        url = json.loads(lines[0])["endpoint"]
        for path in ("/readyz", "/healthz"):
            with urllib.request.urlopen(url + path, timeout=10) as answer:
                assert answer.read() == b"ok\n"
        publish_recorded(source, 3)
        lines += [process.stdout.readline() for _ in range(2)]
        with urllib.request.urlopen(url + "/metrics", timeout=10) as answer:
            assert b'ckpt2saved_sync_local_version{model="crnn"} 3\n' in answer.read()
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    found = events([*lines, *out.splitlines()])
    assert process.returncode == 0 and found[-1]["reason"] == "signal", err
    assert [event["version"] for event in found if event["event"] == "published"] == [2, 3]


def test_kill_9_at_any_moment(source, base):
    """A local version is always whole, and the next sync goes on; what was left is removed."""
    moments = random.Random(7)
    for number in range(3, 15):
        publish_recorded(source, number, more=24 * MEGABYTES + number)
        with started(source, base, "--interval", "0.01") as process:
            time.sleep(moments.uniform(0.15, 0.6))
            process.kill()
            process.communicate()
        for child in numbered_children(base) if base.exists() else ():
            assert content_sha256(child.path) == read_provenance(child.path)["content_sha256"]
    assert finished(source, base, "--once", "--keep", "2")[0] == 0
    assert [name for name in os.listdir(str(base)) if name.startswith((".staging", ".pruned-"))] == []
    assert [one.number for one in list_versions(base)][0] == 14
    assert all(one.is_complete for one in list_versions(base))


def test_a_full_disk(source, base):
    """As a limit on the size of files shows it: a message, no stage, and the loop goes on."""

    def limited():
        heed_interrupts()
        resource.setrlimit(resource.RLIMIT_FSIZE, (MEGABYTES, MEGABYTES))

    with ended(started(source, base, "--interval", "0.1", "--json", preexec_fn=limited)) as process:
        lines = []
        while sum('"failed"' in line for line in lines) < 2:
            lines.append(process.stdout.readline())
        assert not base.exists() or not numbered_children(base)
        process.terminate()
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    failed = [event for event in events(lines) if event["event"] == "failed"]
    assert [event["kind"] for event in failed] == ["local", "local"] and not base.exists()
    assert failed[1]["retry_in"] > failed[0]["retry_in"] > 0
    assert "a limit on the size of files is reached" in failed[0]["error"]["message"]
    assert finished(source, base, "--once")[0] == 0 and names(base) == ["2"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["{source}", "{base}", "--listen", "9090"], 2, "is no HOST:PORT"),
        (["{source}", "{base}", "--listen", "nowhere.invalid:1"], 1, "--listen: could not listen on nowhere.invalid:1"),
        (["{source}", "{source}"], 2, "the source is the local base directory itself"),
        (["{source}"], 2, "Missing argument"),
        (["{source}", "{source}/1/saved_model.pb"], 1, "this is the graph file of a version"),
    ],
)
def test_a_wrong_command_line(run, source, base, arguments, code, said):
    result = run("sync", *[one.format(source=source, base=base) for one in arguments], "--once")
    assert result.exit_code == code and said in result.output, result.output
    assert not base.exists()


def test_from_python(source, base):
    """One round; the results say what it did."""
    told = []
    (found,) = ckpt2saved.sync([source], base, progress=lambda step, text: told.append(step))
    assert (found.name, found.local, found.remote, found.is_current) == ("crnn", 2, 2, True)
    assert found.published == (base / "2",) and found.deleted == () and found.base == base
    assert told == ["syncing", "pulling", "published", "stopped"]
    source.rename(source.with_name("gone"))
    (found,) = ckpt2saved.sync([source], base)
    assert not found.is_current and found.local == 2 and found.published == ()
    with pytest.raises(UsageError, match="--keep 0: expected 1 or more"):
        ckpt2saved.sync([source], base, keep=0)


@pytest.fixture(scope="module")
def s3():
    with s3_server() as endpoint:
        yield endpoint


def test_kill_9_while_a_store_is_read(s3, base, tmp_path):
    """A local version is always whole, and the next sync goes on."""
    moments, url = random.Random(8), s3_url()
    for number in range(1, 5):
        upload_directory(url, publish_recorded(tmp_path / "own", number, more=24 * MEGABYTES + number), str(number))
        with started(url, base, "--interval", "0.01") as process:
            time.sleep(moments.uniform(0.5, 1.5))
            process.kill()
            process.communicate()
        for child in numbered_children(base) if base.exists() else ():
            assert content_sha256(child.path) == read_provenance(child.path)["content_sha256"]
    assert finished(url, base, "--once")[0] == 0
    assert [name for name in os.listdir(str(base)) if name.startswith(".staging")] == []
    assert [one.number for one in list_versions(base)][0] == 4 and list_versions(base)[0].is_complete


@pytest.mark.parametrize("option, code", [("--json", 0), ("--once", 1), ("--until-ready", 1)])
def test_a_signal_while_a_store_does_not_answer(s3, base, option, code):
    """The sync ends at once, with 0; with 1 where something waits for what it pulls."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(5)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
            with ended(started("s3://models/crnn", base, option, "--json")) as process:
                assert '"syncing"' in process.stdout.readline()
                connection, _ = silent.accept()
                with connection:
                    process.terminate()
                    out, err = process.communicate(timeout=20)
    assert (process.returncode, err.count("\n")) == (code, 2), err
    assert events(out.splitlines())[-1]["reason"] == "signal"


def test_until_a_server_has_a_version(source, base):
    """As an init container: a source that comes later is waited for, and an older version is enough."""
    gone = source.with_name("gone")
    source.rename(gone)
    path = gone / "2" / "variables" / "variables.data-00000-of-00001"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with ended(started(source, base, "--interval", "0.1", "--until-ready", "--json")) as process:
        lines = [process.stdout.readline() for _ in range(2)]
        gone.rename(source)
        out, err = process.communicate(timeout=60)
    found = events([*lines, *out.splitlines()])
    assert process.returncode == 0 and names(base) == ["1"], err
    assert found[1]["kind"] == "source" and found[-1]["reason"] == "ready"
    assert finished(source, base, "--until-ready")[0] == 0  # at once
    assert finished(source, base, "--until-ready", "--once")[0] == 2
