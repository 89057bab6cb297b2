"""stdout, stderr and files that can't be written: what was published is said and exit 0, all else fails in words."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import pytest

from ckpt2saved.console.foreign_text import terminal_safe
from tests.support.hostile_server import answering, body, statuses
from tests.support.versions import version_of

COMMAND = [sys.executable, "-c", "from ckpt2saved.cli import main; main(prog_name='ckpt2saved')"]

pytestmark = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device that is always full takes Linux")


def call(how, *arguments):
    """Exit code, stdout and stderr of a command with shell redirections."""
    line = 'exec "$@" ' + how
    done = subprocess.run(
        ["bash", "-c", line, "-"] + COMMAND + [str(argument) for argument in arguments],
        capture_output=True,
    )
    out, err = done.stdout.decode(), done.stderr.decode()
    assert "Traceback" not in err and "ignored" not in err, err
    return done.returncode, out, err


FULL, CLOSED = "stdout can't be written: No space left on device", "stdout can't be written: it is closed"


@pytest.fixture
def base(tmp_path):
    for number in (1, 2, 3):
        version_of(tmp_path / "m", number)
    return tmp_path / "m"


@pytest.mark.parametrize("how", [">/dev/full", ">&-", "<&- >&-"])
@pytest.mark.parametrize("more", [(), ("--json",)])
def test_a_published_version_is_said_on_stderr(base, how, more):
    """Exit 0: whoever took it for a failure would publish it twice."""
    code, out, err = call(how, "bump-version", base, *more)
    assert (code, out) == (0, "") and (base / "4").is_dir()
    assert err == f"Warning: {base / '4'} is published; {FULL if 'full' in how else CLOSED}\n"


@pytest.mark.parametrize("how", [">/dev/full", ">&-"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("bump-version", "BASE", "--dry-run"),
        ("list", "BASE"),
        ("list", "BASE", "--json"),
        ("prune", "BASE", "--keep", "1", "--dry-run"),
        ("--help",),
        ("--version",),
        ("verify", "--help"),
        ("doctor",),
        ("doctor", "--json"),
    ],
    ids=" ".join,
)
def test_what_only_prints_has_failed(base, how, arguments):
    """Exit 1, with the reason."""
    code, _, err = call(how, *[str(base) if word == "BASE" else word for word in arguments])
    assert (code, err) == (1, f"Error: {FULL if 'full' in how else CLOSED}\n")
    assert len(list(base.iterdir())) == 3


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_what_was_deleted_is_said_on_stderr(base, more):
    """It is gone."""
    code, _, err = call(">/dev/full", "prune", base, "--keep", "2", *more)
    assert code == 0 and err == f"Warning: deleted {base / '1'}; {FULL}\n"


def test_a_broken_pipe(base):
    """Its reader went."""
    with subprocess.Popen(
        COMMAND + ["bump-version", str(base)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        err = process.stderr.read().decode()
    assert process.returncode == 0
    assert err == f"Warning: {base / '4'} is published; stdout can't be written: Broken pipe\n"


@pytest.mark.parametrize("arguments", [("list",), ("--help",), ("export", "--help")], ids=" ".join)
def test_a_reader_that_has_seen_enough_gets_no_message(base, arguments):
    """As `ckpt2saved list BASE | head -1`: whoever took the first line wants no error for it."""
    arguments = [*arguments, str(base)] if arguments == ("list",) else arguments
    with subprocess.Popen(COMMAND + list(arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        err = process.stderr.read().decode()
    assert (process.returncode, err) == (1, "")


@pytest.mark.parametrize("how", ["2>/dev/full", "2>&-", "2>&- <&-"])
def test_stderr_stops_no_work(base, how):
    """What would be said there is lost, and the result is not."""
    assert call(how, "bump-version", base) == (0, f"{base / '4'}\n", "")
    assert call(how, "list", base / "absent")[0] == 1
    assert call(how + " >&-", "bump-version", base)[0] == 0 and (base / "5").is_dir()


def test_a_closed_descriptor_is_no_file_of_ours(base):
    """The first file to be opened would get the number of stdout, and what TensorFlow prints."""
    code = (
        "import os; from ckpt2saved.cli.streams import own_streams; own_streams(); os.write(1, b'x'); os.write(2, b'')"
    )
    line = 'exec "$@" >&- 2>&- <&-'
    assert subprocess.run(["bash", "-c", line, "-", sys.executable, "-c", code]).returncode == 0


def test_a_report_that_cannot_be_written(base, tmp_path):
    """After a version is published it is a warning; with an error it does not hide that; a pipe is not waited for."""
    code, out, err = call("", "bump-version", base, "--report", "/dev/full")
    assert (code, out) == (0, f"{base / '4'}\n")
    assert err == (
        f"Warning: published {base / '4'}; --report /dev/full: No space left on device; expected a file that can be written\n"
    )
    code, out, err = call("", "bump-version", base, "--dry-run", "--report", "/dev/full")
    assert (code, out) == (1, f"{base / '5'}\n") and "Error: --report /dev/full: No space left" in err
    code, _, err = call("", "bump-version", base, "--from", "77", "--report", "/dev/full")
    assert code == 1 and "Warning: --report /dev/full" in err and "Error: " in err and "77" in err
    os.mkfifo(str(tmp_path / "pipe"))
    code, _, err = call("", "bump-version", base, "--report", tmp_path / "pipe")
    assert code == 1 and "No such device or address" in err and not (base / "5").exists()


def test_an_error_after_publishing_says_that_it_is_published(base, tmp_path):
    """Exit 1 alone would be taken for a version that is not there."""
    with answering(body(b"<html>")) as address:
        code, out, err = call("", "bump-version", base, "--wait-for", address, "--timeout", "2", "-q")
    assert (code, out) == (1, f"{base / '4'}\n")
    assert f"Warning: {base / '4'} is published; running this again would publish it twice" in err
    with answering(body(statuses("5", "END"))) as address:
        code, _, err = call("", "bump-version", base, "--wait-for", address, "--timeout", "2", "-q")
    assert code == 3 and "publish it twice" not in err


def mode(path):
    return stat.S_IMODE(os.stat(str(path)).st_mode)


def test_files_are_not_for_everybody_to_write(base, tmp_path):
    """Whatever the umask: what is published has 755 and 644, and the rest is not writable for others."""
    report, config = tmp_path / "report.md", tmp_path / "new" / "config"
    line = 'umask 000; exec "$@"'
    for arguments in (
        ["bump-version", base, "--report", report],
        ["bump-version", tmp_path / "other" / "base", "--from", base / "1"],
        ["serving-config", base, "--output-dir", config],
    ):
        command = ["bash", "-c", line, "-"] + COMMAND + [str(argument) for argument in arguments]
        assert subprocess.run(command, stdout=subprocess.PIPE).returncode == 0
    assert (mode(base / "4"), mode(base / "4" / "saved_model.pb")) == (0o755, 0o644)
    made = [report, config.parent, config, tmp_path / "other", tmp_path / "other" / "base"]
    made += list(base.rglob("4/**/*")) + list(config.rglob("*")) + list((tmp_path / "other").rglob("*"))
    assert [str(path) for path in made if mode(path) & 0o002] == []


def test_what_is_said_of_files_is_plain_text_too(tmp_path):
    """A directory's name reaches the terminal and the CI system as letters."""
    name = "m\n::error::owned\x1b[2J##vso[x]"
    version_of(tmp_path / name, 1)
    code, _, err = call("", "bump-version", tmp_path / name, "--from", "7", "--report", tmp_path / "r.md")
    report = (tmp_path / "r.md").read_text()
    assert code == 1 and terminal_safe(str(tmp_path / name)) in err
    for text in (err, report):
        assert "\x1b" not in text and "\n::error" not in text and "##vso[" not in text
