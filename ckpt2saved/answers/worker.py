"""Run a module of this package in a process, and exchange pickled values with it."""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import tempfile
from pathlib import Path
from typing import IO, Any, Callable, Iterator, Mapping, Optional

from ckpt2saved.files.programs import python_command


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

    def end(self) -> None:
        """Kill the process."""
        self._child.kill()
        self._child.wait()
        for pipe in (self._stdin, self._stdout):
            with contextlib.suppress(BrokenPipeError):  # a value that the process did not read
                pipe.close()


@contextlib.contextmanager
def working(module: str, *arguments: str, env: Optional[Mapping[str, str]] = None) -> Iterator[Worker]:
    """Start a process that runs main() of the module; it is killed at the end of the context."""
    with contextlib.ExitStack() as stack:
        # A file, because a pipe that nobody reads could fill up and block the process.
        path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ckpt2saved-"))) / "stderr"
        written, errors = (stack.enter_context(path.open(mode)) for mode in ("wb", "rb"))
        child = subprocess.Popen(
            python_command(module, *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=written,
            env=env,
        )
        worker = Worker(child, errors)
        stack.callback(worker.end)
        yield worker


def sender() -> Callable[[Any], None]:
    """For use in the process: a function that sends a value. Redirects stdout to stderr from here on."""
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def send(value: Any) -> None:
        pickle.dump(value, channel, protocol=4)
        channel.flush()

    return send
