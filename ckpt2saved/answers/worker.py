"""Run a module of this package in a process, and exchange pickled values with it."""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import tempfile
import threading
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Callable, Dict, Iterator, List, Mapping, Optional, Tuple

from ckpt2saved.files.programs import python_command
from ckpt2saved.graph.devices import uses_gpus


class WorkerEnded(Exception):
    """The process has ended, or sent something that is no pickled value."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(f"it has ended with the exit code {exit_code}")
        self.exit_code = exit_code


class Worker:
    """A running process. It sees the end of its stdin when the parent process ends."""

    def __init__(self, child: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        assert child.stdin is not None and child.stdout is not None
        self._child, self._errors = child, errors
        self._stdin, self._stdout = child.stdin, child.stdout

    def send(self, value: Any) -> None:
        """Send a value to the process; if the process has ended, `receive` reports it."""
        with contextlib.suppress(BrokenPipeError):
            pickle.dump(value, self._stdin, protocol=4)
            self._stdin.flush()

    def receive(self) -> Any:
        """Receive the next value; raises WorkerEnded."""
        try:
            return pickle.load(self._stdout)
        except (EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
            raise WorkerEnded(self._child.wait()) from error

    def said(self) -> str:
        """The stderr of the process since the last call."""
        return self._errors.read().decode("utf-8", "replace")

    @property
    def is_running(self) -> bool:
        """Whether the process has not ended."""
        return self._child.poll() is None

    def interrupt(self, seconds: float) -> None:
        """Let the process clean up and end by SIGTERM; returns when it has ended, or after so many seconds."""
        self._child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(seconds)

    def end(self) -> None:
        """Kill the process."""
        self._child.kill()
        self._child.wait()
        for pipe in (self._stdin, self._stdout, self._errors):
            with contextlib.suppress(BrokenPipeError):  # a value that the process did not read
                pipe.close()


@contextlib.contextmanager
def working(module: str, *arguments: str, environment: Optional[Mapping[str, str]] = None) -> Iterator[Worker]:
    """Start a process that runs main() of the module; it is killed at the end of the context.

    `environment` has variables in addition to those of this process.
    """
    worker = _started(python_command(module, *arguments), environment or {})
    try:
        yield worker
    finally:
        worker.end()


@contextlib.contextmanager
def working_again(module: str) -> Iterator[Worker]:
    """As `working`; inside of `kept_processes` it takes a process that an earlier call has started, if there is one.

    main() of the module must be ready for the next call when a context ends without an exception.
    """
    command = python_command(module)
    key = (command, uses_gpus())
    worker = _idle.take(module, key) or _started(command)
    try:
        yield worker
    except BaseException:
        worker.end()
        raise
    _idle.put(module, key, worker)


@contextlib.contextmanager
def kept_processes() -> Iterator[None]:
    """Keep the last process of each module for the next `working_again`, until the outermost of these contexts ends.

    Starting a process that imports TensorFlow takes seconds. A process that waits keeps its memory, on GPUs too.
    """
    _idle.open()
    try:
        yield
    finally:
        _idle.close()


_Key = Tuple[List[str], bool]  # the command of a process, and whether it has GPUs


class _Idle:
    """Processes that wait for their next use, at most one of each module; none outside of `kept_processes`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._contexts = 0
        self._waiting: Dict[str, Tuple[_Key, Worker]] = {}

    def open(self) -> None:
        with self._lock:
            self._contexts += 1

    def close(self) -> None:
        with self._lock:
            self._contexts -= 1
            if not self._contexts:
                for module in list(self._waiting):
                    self._end(module)

    def take(self, module: str, key: _Key) -> Optional[Worker]:
        """The process of the module that was started with this key, if it waits."""
        with self._lock:
            kept, worker = self._waiting.get(module, (None, None))
            if worker is None or key != kept or not worker.is_running:
                return None
            del self._waiting[module]
            return worker

    def put(self, module: str, key: _Key, worker: Worker) -> None:
        """Let the process wait in place of an earlier one; it is killed if nothing may wait."""
        worker.said()  # of no interest to the next use
        with self._lock:
            self._end(module)
            self._waiting[module] = (key, worker)
            if not self._contexts:
                self._end(module)

    def _end(self, module: str) -> None:
        if module in self._waiting:
            self._waiting.pop(module)[1].end()


_idle = _Idle()


def _environment() -> Mapping[str, str]:
    """The environment of a process, which has no GPUs unless this thread may use them."""
    return os.environ if uses_gpus() else {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}


def _started(command: List[str], more: Mapping[str, str] = MappingProxyType({})) -> Worker:
    # Its stderr is a file, because a pipe that nobody reads could fill up and block the process.
    with tempfile.TemporaryDirectory(prefix="ckpt2saved-") as folder:
        path = Path(folder) / "stderr"
        with path.open("wb") as written:
            pipe = subprocess.PIPE
            environment = {**_environment(), **more}
            child = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=written, env=environment)
            return Worker(child, path.open("rb"))


def sender() -> Callable[[Any], None]:
    """For use in the process: a function that sends a value. Redirects stdout to stderr from here on."""
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def send(value: Any) -> None:
        pickle.dump(value, channel, protocol=4)
        channel.flush()

    return send
