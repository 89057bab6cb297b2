"""stdout and stderr as a command has them: closed or full, stdout fails in words, and stderr stops no work."""

from __future__ import annotations

import io
import os
import select
import sys
from typing import Any

import click

from ckpt2saved.errors import OutputError

STDOUT, STDERR = 1, 2


class _Stream(io.FileIO):
    """A file descriptor of the process; raises OutputError once where it can't be written, of stderr never.

    What comes afterwards is left out: it is the rest in the buffers, which Python tries to write when it ends.
    """

    def __init__(self, descriptor: int, reason: str) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.descriptor = descriptor
        self.reason = reason  # why nothing can be written; "" where it may be
        self.is_said = descriptor == STDERR

    def write(self, content: Any) -> int:
        if not self.reason:
            try:
                return self._written(content)
            except OSError as error:
                self.reason = error.strerror or str(error)
        if not self.is_said:
            self.is_said = True
            raise OutputError(f"stdout can't be written: {self.reason}")
        return len(content)

    def _written(self, content: Any) -> int:
        while True:
            count = super().write(content)
            if count is not None:
                return count
            select.select([], [self.descriptor], [])  # a pipe that does not block, and is full


def own_streams() -> None:
    """Put streams of this module in the place of the process's own; those that somebody else has put there stay.

    A descriptor that is closed is opened on the null device: the next file that is opened would get its number, and
    with it what is written to stdout, by TensorFlow's libraries too.
    """
    closed = [descriptor for descriptor in (0, STDOUT, STDERR) if not _is_open(descriptor)]
    while closed and os.open(os.devnull, os.O_RDWR) < max(closed):
        pass
    if sys.stdout is sys.__stdout__:
        sys.stdout = _text(sys.stdout, STDOUT, "it is closed" if STDOUT in closed else "")
    if sys.stderr is sys.__stderr__:
        sys.stderr = _text(sys.stderr, STDERR, "it is closed" if STDERR in closed else "")


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _text(replaced: Any, descriptor: int, reason: str) -> io.TextIOWrapper:
    encoding = getattr(replaced, "encoding", None) or "utf-8"
    errors = getattr(replaced, "errors", None) or "backslashreplace"
    if replaced is not None:
        replaced.flush()
    buffer = io.BufferedWriter(_Stream(descriptor, reason))
    return io.TextIOWrapper(buffer, encoding, errors, line_buffering=descriptor == STDERR or os.isatty(descriptor))


class Main(click.Group):
    """The command line as a process: with its own streams, and with files that not everybody may write to."""

    def main(self, *arguments: Any, **keywords: Any) -> Any:
        own_streams()
        os.umask(os.umask(0o022) | 0o002)
        try:
            return super().main(*arguments, **keywords)
        except OutputError as error:  # of --help and --version
            click.echo(f"Error: {error}", err=True)
            sys.exit(error.exit_code)
