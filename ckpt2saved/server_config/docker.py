"""The `docker run` command of the server, and running it."""

from __future__ import annotations

import csv
import io
import shlex
import subprocess
from typing import List, Sequence, Tuple

from ckpt2saved.errors import ServingError
from ckpt2saved.files.programs import find_program
from ckpt2saved.server_config.mounts import Mount
from ckpt2saved.server_config.server import GRPC_PORT, REST_PORT, Server, trimmed

FILE = "docker-run.sh"


def docker_command(server: Server, nvidia_runtime: bool) -> Tuple[str, ...]:
    """Return the words of the command; `nvidia_runtime` is for Docker before 19.03, which lacks --gpus."""
    command = ["docker", "run", "--detach", "--restart", "unless-stopped", "--name", server.name]
    if server.gpus and nvidia_runtime:
        command += ["--runtime=nvidia", "-e", "NVIDIA_VISIBLE_DEVICES=" + server.gpus.visible_devices]
    elif server.gpus:
        command += ["--gpus", server.gpus.docker]
    if server.cpus:
        command += ["--cpus", trimmed(server.cpus)]
    for name, value in server.environment.items():
        command += ["--env", f"{name}={value}"]
    command += ["--publish", f"{server.port}:{GRPC_PORT}"]
    command += ["--publish", f"{server.rest_port}:{REST_PORT}"]
    for mount in server.mounts:
        command += ["--mount", _bind(mount)]
    return tuple(command) + (server.tag,) + server.flags(server.config_dir)


def trial_command(server: Server) -> Tuple[str, ...]:
    """Return the words of a command that serves the first model for a trial, without configuration files."""
    model = server.models[0]
    command = ["docker", "run", "--rm", "--detach", "--name", server.name]
    for name, value in server.environment.items():
        command += ["--env", f"{name}={value}"]
    command += ["--env", f"MODEL_NAME={model.name}", "--publish", f"{server.rest_port}:{REST_PORT}"]
    command += ["--mount", _bind(Mount(model.directory, f"/models/{model.name}")), server.tag]
    return (*command, *server.settings.flags(server.image))


def as_line(command: Sequence[str]) -> str:
    """Return the command quoted for a shell."""
    return " ".join(shlex.quote(word) for word in command)


def as_script(command: Sequence[str]) -> str:
    """Return the command as a shell script."""
    return f"#!/bin/sh\nexec {as_line(command)}\n"


def find_docker() -> str:
    """Return the docker program that --run calls."""
    found = find_program("docker")
    if found is None:
        raise ServingError(
            "--run: there is no docker on the PATH; install it, or leave --run out and start the server where there is"
        )
    return found


def run(command: Sequence[str]) -> str:
    """Start the server and return the container's id."""
    done = subprocess.run([find_docker()] + list(command[1:]), check=False, capture_output=True, text=True)
    if done.returncode:
        said = " ".join(done.stderr.split()) or "nothing"
        raise ServingError(
            f"docker run: exit code {done.returncode}, output: {said}; the files are written, so fix this and"
            f" run {FILE}"
        )
    return done.stdout.strip()


def _bind(mount: Mount) -> str:
    """Return a read-only --mount of a directory; unlike --volume it fails if the directory does not exist."""
    fields: List[str] = ["type=bind", f"source={mount.host}", "target=" + mount.server, "readonly"]
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(fields)
    return line.getvalue()
