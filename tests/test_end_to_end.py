"""With a real TensorFlow Serving, where one can be had: publish, hot reload, roll back, a version that is broken.

CKPT2SAVED_TEST_SERVING=http://host:8501 names one that watches CKPT2SAVED_TEST_MODEL_ROOT as its model, whose name is
that directory's (or CKPT2SAVED_TEST_MODEL_NAME); its gRPC port is 8500 (or in CKPT2SAVED_TEST_SERVING_GRPC). Otherwise a
tensorflow_model_server on the PATH is started, or docker's image of it if that is there.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import socket
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ckpt2saved.compatibility.image import DEFAULT, find_image
from tests.support.command_line import exported

SERVER, ROOT = "CKPT2SAVED_TEST_SERVING", "CKPT2SAVED_TEST_MODEL_ROOT"
ONLY_ONCE = "--max_num_load_retries=0"  # or a broken version keeps the server busy for five minutes


class Serving:
    """A server and the directory that it watches."""

    def __init__(self, base, rest, grpc, name):
        self.base, self.rest, self.grpc, self.name = Path(str(base)), rest, grpc, name


def has_image():
    """Whether docker can start TF Serving without fetching it first."""
    command = ["docker", "image", "inspect", find_image(DEFAULT).tag(gpu=False)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return shutil.which("docker") is not None and subprocess.run(command, **quiet).returncode == 0


def free_port():
    with contextlib.closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture
def serving(tmp_path, run, crnn_checkpoint):
    """A server with version 1, or whatever comes next, of a small CRNN; skipped where there is none."""
    if os.environ.get(SERVER):
        address = urlsplit(os.environ[SERVER])
        base = os.environ[ROOT]
        grpc = os.environ.get(SERVER + "_GRPC", f"grpc://{address.hostname}:8500")
        name = os.environ.get("CKPT2SAVED_TEST_MODEL_NAME", os.path.basename(os.path.abspath(base)))
        yield Serving(base, os.environ[SERVER], grpc, name)
        return
    program = shutil.which("tensorflow_model_server")
    if program is None and not has_image():
        pytest.skip(f"no TensorFlow Serving: {SERVER} is not set, no tensorflow_model_server, no image of docker's")
    base, config = tmp_path / "crnn", tmp_path / "config"
    ports = {"--port": free_port(), "--rest-port": free_port()}
    options = [str(word) for port in ports.items() for word in port]
    assert exported(run, base, crnn_checkpoint, "-q").exit_code == 0
    seen = f"{tmp_path}={tmp_path}" if program else f"{tmp_path}=/models"
    configured = run("serving-config", base, "-o", config, "--mount", seen, "--json", "-q", *options)
    assert configured.exit_code == 0, configured.output
    command = start(program, config, ports, json.loads(configured.output)["start"].get("docker"))
    rest, grpc = ports["--rest-port"], ports["--port"]
    server = Serving(base, f"http://127.0.0.1:{rest}", f"grpc://127.0.0.1:{grpc}", "crnn")
    with (tmp_path / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield server
        finally:
            process.terminate()
            process.wait(timeout=60)


def start(program, config, ports, docker_run):
    """The words that start the server in the foreground; of docker those that serving-config prints."""
    if program:
        flags = [f"--port={ports['--port']}", f"--rest_api_port={ports['--rest-port']}"]
        return [program, f"--model_config_file={config / 'models.config'}", ONLY_ONCE] + flags
    words = shlex.split(docker_run)
    for word in ("--detach", "--restart", "unless-stopped"):
        words.remove(word)
    return words[:2] + ["--rm"] + words[2:] + [ONLY_ONCE]


def test_a_real_server(serving, run, crnn_checkpoint):
    """Each step is red or green as it ought to be; the sparse triple and dense answer over REST and gRPC alike."""
    wait = ["--model-name", serving.name, "--timeout", "120"]
    first = exported(run, serving.base, crnn_checkpoint, "-q", "--wait-for", serving.rest, *wait)
    assert first.exit_code == 0, first.output
    path = Path(first.stdout.split()[0])
    for address in (serving.rest, serving.grpc):
        checked = run("verify", path, "--checkpoint", crnn_checkpoint, "--server", address, "--json", "-q", *wait)
        assert checked.exit_code == 0, checked.output
        found = json.loads(checked.stdout)["server"]
        assert found["compared"] and set(found["max_abs_difference"]) == {"serving_default", "dense"}

    reloaded = run("bump-version", serving.base, "--wait-for", serving.grpc, *wait)
    assert reloaded.exit_code == 0, reloaded.output
    back = run("bump-version", serving.base, "--from", path.name, "--wait-for", serving.rest, *wait)
    assert back.exit_code == 0, back.output
    newest = Path(back.stdout.split()[0])

    # Loads without a value in any variable: the warm-up request is what tells the server.
    broken = serving.base / str(int(newest.name) + 1)
    shutil.copytree(str(newest), str(serving.base / ".broken"))
    (serving.base / ".broken" / "variables" / "variables.index").unlink()
    (serving.base / ".broken").rename(broken)
    result = run("verify", broken, "--server", serving.rest, "--model-name", serving.name, "--timeout", "20")
    assert result.exit_code == 3, result.output
    assert run("verify", newest, "--server", serving.rest, *wait).exit_code == 0  # which goes on
    mended = run("bump-version", serving.base, "--from", newest.name)
    assert mended.exit_code == 0, mended.output
