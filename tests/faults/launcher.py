"""Commands of ckpt2saved in processes that are forked from one that has imported everything: a start takes 5 ms.

As a program: the process that forks, with further modules to import as arguments. It reads requests from stdin, a JSON
object a line, and answers on stdout.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

from tests.faults import interposer
from tests.faults.interposer import Fault

ROOT = Path(__file__).resolve().parents[2]
Argv = Sequence[object]
TENSORFLOW = ("ckpt2saved.exporting.pipeline",)
# Not a command: publishes copies of a directory as an export does, without TensorFlow.
PUBLISH = "publish"


@dataclass(frozen=True)
class Ended:
    """A process that has ended."""

    exit_code: Optional[int]  # None if it was killed
    out: str
    err: str
    calls: int  # as far as they are counted

    @property
    def was_killed(self) -> bool:
        return self.exit_code is None


class Running:
    """A forked process."""

    def __init__(self, launcher: Launcher, pid: int) -> None:
        self._launcher = launcher
        self.pid = pid

    def kill(self) -> None:
        """Kill -9; the process stays a zombie until wait(), so that its number is not another one's."""
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> Ended:
        answer = self._launcher.ask({"wait": self.pid})
        return Ended(answer["exit_code"], answer["out"], answer["err"], answer["calls"])


class Launcher:
    """The process that forks, as a context manager."""

    def __init__(
        self, library: Optional[Path] = None, imports: Sequence[str] = (), environment: Optional[Dict[str, str]] = None
    ) -> None:
        variables = dict(os.environ, PYTHONPATH=str(ROOT), CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="3")
        variables.update(environment or {})
        if library is not None:
            variables["LD_PRELOAD"] = str(library)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.launcher", *imports],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=variables,
            universal_newlines=True,
        )
        self.library = library

    def __enter__(self) -> Launcher:
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def ask(self, request: Dict[str, Any]) -> Dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer: Dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def start(self, *commands: Argv, fault: Optional[Fault] = None, user: int = 0, after: float = 0.0) -> Running:
        """Start a process that runs the commands one after the other, the first `after` this time.monotonic()."""
        answer = self.ask(
            {
                "commands": [list(map(str, one)) for one in commands],
                "fault": fault and asdict(fault),
                "user": user,
                "after": after,
            }
        )
        return Running(self, answer["pid"])

    def run(self, *commands: Argv, fault: Optional[Fault] = None, user: int = 0) -> Ended:
        return self.start(*commands, fault=fault, user=user).wait()


def main() -> None:
    """Serve requests until stdin ends."""
    _import_everything(sys.argv[1:])
    requests, answers = os.fdopen(os.dup(0), "r"), os.fdopen(os.dup(1), "w")
    outputs: Dict[int, Tuple[str, str, str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for line in iter(requests.readline, ""):
            request = json.loads(line)
            if "wait" in request:
                answer = _ended(request["wait"], outputs.pop(request["wait"]))
            else:
                paths = tuple(os.path.join(folder, f"{len(outputs)}-{time.monotonic_ns()}-{one}") for one in "oec")
                pid = os.fork()
                if pid == 0:
                    for file in (requests, answers):
                        os.close(file.fileno())
                    _run(request, paths)
                outputs[pid] = (paths[0], paths[1], paths[2])
                answer = {"pid": pid}
            answers.write(json.dumps(answer) + "\n")
            answers.flush()


def _ended(pid: int, paths: Tuple[str, str, str]) -> Dict[str, Any]:
    status = os.waitpid(pid, 0)[1]
    texts = []
    for path in paths:
        try:
            texts.append(Path(path).read_text(encoding="utf-8", errors="replace"))
            os.unlink(path)
        except FileNotFoundError:
            texts.append("")
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
    return {"exit_code": code, "out": texts[0], "err": texts[1], "calls": int(texts[2] or 0)}


def _run(request: Dict[str, Any], paths: Sequence[str]) -> None:
    """Run the commands in this forked process, and end it."""
    code = 70
    try:
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        for number, path in enumerate(paths[:2], 1):
            output = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
            os.dup2(output, number)
            os.close(output)
        calls = os.open(paths[2], os.O_WRONLY | os.O_CREAT, 0o600)
        fault = request["fault"]
        if request["user"]:
            os.setgroups([])
            os.setgid(request["user"])
            os.setuid(request["user"])
        time.sleep(max(0.0, request["after"] - time.monotonic()))
        if fault is not None:
            interposer.arm(Fault(**dict(fault, kinds=interposer.Kind(fault["kinds"]))))
        for command in request["commands"]:
            code = _exit_code(command)
            if code:
                break
        if fault is not None:
            os.write(calls, str(interposer.disarm()).encode())
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _exit_code(command: List[str]) -> int:
    from ckpt2saved.cli import main as commands

    try:
        if command[0] == PUBLISH:
            _publish(*command[1:])
        else:
            commands(args=command, prog_name="ckpt2saved")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 71
    return 0


def _publish(base: str, source: str, count: str = "1") -> None:
    from ckpt2saved.errors import Ckpt2SavedError
    from ckpt2saved.versions import copy_version, staged

    for _ in range(int(count)):
        try:
            with staged(base) as stage:
                copy_version(source, stage.path, link=False)
                print(stage.publish(), flush=True)
        except Ckpt2SavedError as error:
            print(f"Error: {error}", file=sys.stderr)
            raise SystemExit(error.exit_code) from None


def _import_everything(others: Sequence[str]) -> None:
    """Import what commands import in their bodies."""
    for name in ("versions", "console", "cli", "errors", "files"):
        package = importlib.import_module(f"ckpt2saved.{name}")
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            importlib.import_module(module.name)
    for name in others:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as folder:  # what is imported by other packages, in their bodies
        source = str(ROOT / "tests" / "saved_models" / "frozen")
        for command in (
            ["bump-version", folder, "--from", source],
            ["list", folder],
            ["prune", folder],
            ["bump-version", folder],
        ):
            with open(os.devnull, "w") as null, contextlib.redirect_stdout(null), contextlib.redirect_stderr(null):
                _exit_code(command)
    gc.collect()
    gc.freeze()  # forked processes share the pages


if __name__ == "__main__":
    main()
