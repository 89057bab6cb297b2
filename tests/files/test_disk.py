"""A disk that takes no more: the file that was being written is named, nothing half is left, and never a traceback.

A limit on the size of files stands in for a full disk, which takes no rights; where this user may mount one, a full
disk is tried too.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ckpt2saved.answers import worker
from ckpt2saved.exporting.pipeline import export_checkpoint
from ckpt2saved.exporting.plan import ExportOptions, plan_export
from ckpt2saved.files import reading
from ckpt2saved.files.reading import read_file, sha256_of
from ckpt2saved.files.write_errors import advice, error_in, not_written, writing
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.sources.graph_plan import GraphOptions
from ckpt2saved.versions import health
from tests.support.checkpoints import write_checkpoint
from tests.support.command_line import unmeasured_environment

TOO_LARGE = "File too large"


@contextlib.contextmanager
def limited(size):
    """No file that this process, or a child of its, writes may become larger than `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.MonkeyPatch.context() as patch:
        # Python 3.7 does not notice that it wrote a part of a compiled module, and can't import it from then on.
        patch.setattr(sys, "dont_write_bytecode", True)
        patch.setenv("PYTHONDONTWRITEBYTECODE", "1")
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def base(tmp_path):
    return tmp_path / "m"


def refused(result, *texts):
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit)  # else it would be a traceback
    for text in texts:
        assert text in result.output, result.output


def sizes(version):
    return {str(path.relative_to(version)): path.stat().st_size for path in version.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "name", ["variables/variables.data-00000-of-00001", "saved_model.pb", "assets.extra/tf_serving_warmup_requests"]
)
def test_export_names_the_file(run, base, crnn_checkpoint, exported_crnn, name, tmp_path):
    """TensorFlow's writers and ours; the checkpoint is not blamed, and nothing is left, not the base either."""
    size = sizes(exported_crnn)[name]
    arguments = ["-m", "crnn", "-c", crnn_checkpoint, "-o", base, "-q"]
    if name.endswith("requests"):  # made larger than the others
        arrays = {key: np.zeros(shape, dtype) for key, shape, dtype in WARMUP}
        np.savez(str(tmp_path / "requests.npz"), **arrays)
        arguments += ["--warmup", tmp_path / "requests.npz", "--no-parity"]
        size = max(sizes(exported_crnn).values()) + 2
    with limited(size - 1):
        result = run("export", *arguments)
    refused(result, "could not write the version, so that nothing was published", TOO_LARGE, "ulimit -f")
    assert f"{name})" in result.output and "/.staging-" in result.output
    assert "damaged" not in result.output and not base.exists()


WARMUP = [("input_data", (1, 2, 32, 1024, 3), "float32"), ("input_batch_size", (1, 2), "int32")]


def test_export_names_the_provenance(base, crnn_checkpoint, monkeypatch):
    """The last file; a full disk is met there by what Python writes."""
    plan = plan_export(ExportOptions(GraphOptions(model="crnn", checkpoints=(crnn_checkpoint,)), base, parity=False))
    write = Path.write_text

    def full(path, *arguments, **keywords):
        if path.name != "ckpt2saved.json":
            return write(path, *arguments, **keywords)
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(Exception, match=r"quota exceeded \(.*/assets.extra/ckpt2saved.json\); free space in this"):
        export_checkpoint(plan)
    assert not base.exists()


def test_a_file_that_does_not_reach_the_disk_is_named(base, crnn_checkpoint, monkeypatch):
    """On some network file systems a full disk shows when the file is flushed."""
    sync = os.fsync

    def full(descriptor):
        if os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")) == "saved_model.pb":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("this system does not say what a descriptor is")
    monkeypatch.setattr(os, "fsync", full)
    plan = plan_export(ExportOptions(GraphOptions(model="crnn", checkpoints=(crnn_checkpoint,)), base, parity=False))
    with pytest.raises(
        Exception, match=r"could not publish the version: No space left on device \(.*/saved_model.pb\)"
    ):
        export_checkpoint(plan)
    assert not base.exists()


def test_a_staged_file_that_cannot_be_read(run, base, crnn_checkpoint, monkeypatch):
    """A fault of the disk is told as such, and not as a version that cannot be served."""
    find = health.why_no_access

    def failing(path, rights):
        name = os.path.basename(os.fspath(path))
        return OSError(errno.EIO, os.strerror(errno.EIO), path) if name == "saved_model.pb" else find(path, rights)

    monkeypatch.setattr(health, "why_no_access", failing)
    result = run("export", "-m", "crnn", "-c", crnn_checkpoint, "-o", base, "-q", "--no-parity")
    refused(
        result, f"{base}: the staged files can't be read; nothing is published", "saved_model.pb: Input/output error"
    )
    assert not base.exists()


def test_a_rehearsal_in_the_directory_for_temporary_files(run, base, crnn_checkpoint):
    """Which is full, whatever room the base has."""
    with limited(10000):
        result = run("export", "-m", "crnn", "-c", crnn_checkpoint, "-o", base, "-q", "--dry-run")
    refused(result, TOO_LARGE, "variables.data-00000-of-00001: could not write it")


STRINGS = """
import tensorflow.compat.v1 as tf
def build(variables, options):
    x = tf.placeholder(tf.string, [None], name="x")
    w = tf.get_variable("w", [4], use_resource=False)
    return {"x": x, "y": tf.fill([tf.shape(x)[0], 4000], "long") , "z": tf.cast(tf.strings.length(x), tf.float32) + w[0]}
"""


def test_what_two_processes_exchange_takes_no_room(run, base, tmp_path, monkeypatch):
    """Strings are asked in a new process: neither the requests nor the answers are written to a disk."""
    (tmp_path / "graph_of_strings.py").write_text(STRINGS)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(worker, "_idle", worker._Idle())  # the limit is that of processes that start under it
    prefix = write_checkpoint(tmp_path / "model", {"w": np.ones(4, "float32")})
    arguments = ["export", "--graph", "graph_of_strings:build", "--python-path", tmp_path, "-c", prefix, "-o", base]
    np.savez(str(tmp_path / "large.npz"), x=np.array([[b"a" * 30000, b"b"]]))
    arguments += ["--input", "x", "--output", "y", "--output", "z", "--no-parity"]
    assert run(*arguments, "--no-warmup").exit_code == 0
    np.savez(str(tmp_path / "asked.npz"), x=np.array([b"a", b"b"]))
    with limited(20000):
        assert run("verify", base, "--inputs", tmp_path / "asked.npz").exit_code == 0
    with limited(30500):  # the file of the requests is written
        assert run(*arguments, "--warmup", tmp_path / "large.npz").exit_code == 0
    assert sorted(os.listdir(str(base))) == ["1", "2"]
    sys.modules.pop("graph_of_strings", None)


def test_bump_version_names_the_copy(run, base, exported_crnn):
    """And not the source, which Python names; nothing is left."""
    with limited(10000):
        result = run("bump-version", base, "--from", exported_crnn)
    refused(result, TOO_LARGE, "/.staging-", "raise it and run again")
    assert f"({exported_crnn}" not in result.output and not base.exists()


def test_serving_config_names_the_file(run, base, tmp_path, exported_crnn):
    """What was there stays, whole."""
    arguments = ["serving-config", exported_crnn.parent, "-o", tmp_path / "out", "--for", "kubernetes"]
    assert run(*arguments).exit_code == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    with limited(1000):
        result = run(*arguments, "--port", "9000")
    refused(result, TOO_LARGE, f"({tmp_path / 'out' / 'kubernetes.yaml'})")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_a_signature_file_is_whole_or_absent(run, tmp_path):
    """A half one would be refused as a signature, and keep the next run from writing it."""
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [None, 8], name="x")
        tf.identity(tf.matmul(x, tf.get_variable("w", [8, 3], use_resource=False)), name="logits")
        session.run(tf.global_variables_initializer())
        prefix = tf.train.Saver().save(session, str(tmp_path / "model.ckpt"))
    target = tmp_path / "mine.yaml"
    with limited(50):
        refused(run("inspect", prefix, "--write-signature", target), f"--write-signature: {target}: {TOO_LARGE}")
    assert not target.exists() and not [name for name in os.listdir(str(tmp_path)) if "mine" in name]
    assert run("inspect", prefix, "--write-signature", target).exit_code == 0
    content = target.read_text()
    with limited(50):
        refused(run("inspect", prefix, "--write-signature", target, "--force"), TOO_LARGE)
    assert target.read_text() == content


def test_a_report_names_the_file(run, tmp_path, exported_crnn):
    """As the command begins, and before it does anything."""
    report = tmp_path / "report.md"
    report.write_text("x" * 1000)
    with limited(1000):
        result = run("bump-version", tmp_path / "m", "--from", exported_crnn, "--report", report, "--dry-run")
    refused(result, f"--report {report}: {TOO_LARGE}")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a file system")
def test_a_disk_that_is_full(run, tmp_path, crnn_checkpoint):
    """A real one of 64 kB, that is then mounted read-only."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.call(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], stderr=subprocess.DEVNULL):
        pytest.skip("nothing may be mounted here")
    arguments = ["export", "-m", "crnn", "-c", crnn_checkpoint, "-o", disk / "m", "-q"]
    try:
        result = run(*arguments)
        refused(result, "No space left on device (", "/saved_model.pb); free some space there and run again")
        assert os.listdir(str(disk)) == []
        subprocess.check_call(["mount", "-o", "remount,ro", str(disk)])
        refused(run(*arguments), f"the file system of {disk} is mounted read-only")
    finally:
        subprocess.call(["umount", str(disk)])


def test_no_directory_for_temporary_files(crnn_checkpoint):
    """TensorFlow asks for one as soon as it is imported; it is said what to do."""
    code = "import sys; from ckpt2saved.cli import main; main(['inspect', sys.argv[1]], prog_name='ckpt2saved')"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(crnn_checkpoint)],
        env=unmeasured_environment(PYTHONPATH=os.pathsep.join(sys.path)),
        capture_output=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
    )
    assert done.returncode == 1 and b"Traceback" not in done.stderr, done.stderr
    assert b"No usable temporary directory found in [" in done.stderr and b"variable TMPDIR" in done.stderr, done.stderr
    error = FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp', '/var/tmp']")
    assert "['/tmp', '/var/tmp']: none of them can be written; free some space" in str(not_written(error))
    assert not_written(FileNotFoundError(errno.ENOENT, "No such file or directory", "/a")) is None


@pytest.mark.parametrize(
    "message, code, name",
    [
        ("/a b/v.data.tempstate12; No space left on device\n\t [[node SaveV2 ]]", errno.ENOSPC, "/a b/v.data"),
        ("Graph execution error:\n\nDetected at node x\n/m/v; Disk quota exceeded\n", errno.EDQUOT, "/m/v"),
        ("/m/v; File too large", errno.EFBIG, "/m/v"),
        ("/m/v; Read-only file system", errno.EROFS, "/m/v"),
        ("Read less bytes than requested", None, None),
        ("Key w not found in checkpoint", None, None),
    ],
)
def test_what_tensorflow_says_of_a_disk(message, code, name):
    """In the middle of a longer text, and under the name that the file was to have."""
    error = error_in(message)
    assert (error and (error.errno, error.filename)) == (code and (code, name))
    assert error is None or advice(error)


def test_an_error_that_names_its_file_keeps_it():
    """Unless the disk is full, which is the fault of the file that is written."""
    with pytest.raises(OSError) as caught, writing(Path("/target")):
        raise OSError(errno.EACCES, "no", "/source")
    assert caught.value.filename == "/source" and not_written(caught.value) is None
    with pytest.raises(OSError) as caught, writing(Path("/target")):
        raise OSError(errno.ENOSPC, "full", "/source", None, "/target")
    assert caught.value.filename == "/target" and "/target: could not write it: full" in str(not_written(caught.value))
    assert not_written(OSError(errno.ENOSPC, "full")) is None


@pytest.mark.parametrize("read", [sha256_of, lambda path: read_file(path, 10)], ids=["sha256_of", "read_file"])
def test_an_error_of_reading_names_the_file(tmp_path, monkeypatch, read):
    """As Python does not: a disk that fails is told with the file, in a stage as that of publishing."""

    class Failing:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def read(self, size):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(reading, "open_file", lambda path, most=0: Failing())
    with pytest.raises(OSError, match="Input/output error") as error:
        read(tmp_path / "data")
    assert error.value.filename == str(tmp_path / "data")
