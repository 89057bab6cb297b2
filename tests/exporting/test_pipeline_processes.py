"""`export` in processes of its own: what it prints, full disks, signals, and several at once.

What TensorFlow answers has no part in it.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ckpt2saved.signature.file import load_model
from tests.support.command_line import exported, heed_interrupts, unmeasured_environment, without_chatter

ROOT = Path(__file__).resolve().parents[2]


def stdout_of(*arguments, **keywords):
    """The command in a process of its own: what it printed on stdout, and on stderr."""
    command = [sys.executable, "-m", "ckpt2saved"] + [str(argument) for argument in arguments]
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    done = subprocess.run(command, env=environment, capture_output=True, text=True, **keywords)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def children(base):
    return sorted(path.name for path in base.iterdir()) if base.exists() else []


def test_stdout_is_the_published_directory_and_nothing_else(tmp_path, ctpn_checkpoint):
    """DIR=$(ckpt2saved export …) works; what was done is told on stderr, without TensorFlow's chatter."""
    base = tmp_path / "models" / "ctpn"
    out, err = stdout_of("export", "--model", "ctpn", "--checkpoint", ctpn_checkpoint, "--export-dir", base)
    assert out == f"{base / '1'}\n"
    assert re.match(
        r"checkpoint  .*model.ckpt-123 \(77 tensors, step 123, [0-9.]+ kB\)\n"
        r"note        picture_proposals: left out: it needs --option short_side=VALUE\n"
        r"note        picture_lines: left out: it needs --option short_side=VALUE\n"
        r"weights     moving averages \(the checkpoint holds moving averages of all trained variables\)\n"
        r"graph       [0-9]+ nodes, 38 variables\n"
        r"decoder     the graph has no CTC beam search\n"
        r"parity      12 answers match the checkpoint, largest difference [0-9.e-]+; "
        r"loaded by the C\+\+ loader that TF Serving uses\n"
        r"warm-up     3 requests written \(1 of signature serving_default; 1 of signature proposals; 1 of signature lines\)\n"
        r"written     0.[0-9] MB; the checkpoint has [0-9.]+ kB\n\Z",
        without_chatter(err),
    ), err
    assert children(base) == ["1"]


def test_quiet_says_nothing(tmp_path, ctpn_checkpoint):
    """--quiet leaves the result alone."""
    out, err = stdout_of("export", "-q", "-m", "ctpn", "-c", ctpn_checkpoint, "-o", tmp_path / "m")
    assert (out, without_chatter(err)) == (f"{tmp_path / 'm' / '1'}\n", "")


def small_files_only():
    """No file of this process may grow beyond 10,000 bytes: what a full disk looks like to a program."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000))


def test_a_disk_that_takes_no_more_is_said(tmp_path, crnn_checkpoint):
    """The checkpoint is not blamed, and nothing is left behind."""
    command = [sys.executable, "-m", "ckpt2saved", "export", "-q", "-m", "crnn", "-c", str(crnn_checkpoint)]
    done = subprocess.run(
        command + ["-o", str(tmp_path / "m")],
        env=unmeasured_environment(PYTHONPATH=str(ROOT)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=small_files_only,
    )
    assert done.returncode == 1, done.stdout
    assert "could not write the version, so that nothing was published: File too large (" in done.stdout
    assert "/variables/variables.data-00000-of-00001); " in done.stdout
    assert "damaged" not in done.stdout and "Traceback" not in done.stdout
    assert not (tmp_path / "m").exists()


def interrupted(number, base, checkpoint, folder):
    """Start a long export, send it a signal as soon as it has something staged, and wait for its end."""
    text = load_model("crnn").source.read_text()
    long = text.replace("{batch: 2, width: 100}", "{batch: 2, width: 60000}").replace("[25, 20]", "[15000, 20]")
    (folder / "long.yaml").write_text(long)
    command = [sys.executable, "-m", "ckpt2saved", "export", "-q", "-m", str(folder / "long.yaml")]
    command += ["-c", str(checkpoint), "-o", str(base)]
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, preexec_fn=heed_interrupts) as process:
        deadline = time.monotonic() + 120
        while not any(name.startswith(".staging-") for name in children(base)):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(number)
        return process.wait(timeout=120), process.stderr.read().decode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_export_leaves_nothing(tmp_path, crnn_checkpoint, number):
    """ctrl-C, and the signal of a cancelled CI job, in the middle of the work."""
    code, err = interrupted(number, tmp_path / "m", crnn_checkpoint, tmp_path)
    assert code == 1
    assert "Traceback" not in err and "Aborted!" in err
    assert not (tmp_path / "m").exists()


def test_a_killed_exports_leftover_is_cleaned_by_the_next(run, tmp_path, crnn_checkpoint):
    """kill -9 leaves a name that TF Serving does not see; the next export takes it away."""
    base = tmp_path / "m"
    interrupted(signal.SIGKILL, base, crnn_checkpoint, tmp_path)
    (leftover,) = children(base)
    assert leftover.startswith(".staging-")
    assert exported(run, base, crnn_checkpoint, "-q", "--no-parity").exit_code == 0
    assert children(base) == ["1"]


def test_exporters_at_once_get_numbers_of_their_own(tmp_path, crnn_checkpoint):
    """Two processes, one base: two whole versions."""
    command = [sys.executable, "-m", "ckpt2saved", "export", "-m", "crnn", "-c", str(crnn_checkpoint), "-q"]
    command += ["--no-parity", "--no-warmup"]
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    processes = [
        subprocess.Popen(command + ["-o", str(tmp_path)], env=environment, stdout=subprocess.PIPE) for _ in range(2)
    ]
    printed = sorted(process.communicate(timeout=300)[0].decode().strip() for process in processes)
    assert printed == [str(tmp_path / str(number)) for number in (1, 2)]
    assert children(tmp_path) == ["1", "2"]
