"""stdout and stderr of a command: a failed write to stdout raises OutputError, one to stderr is ignored."""

from __future__ import annotations

import io
import os
import select
import sys
from typing import Any

import click

from ckpt2saved.cli.help import HelpfulGroup
from ckpt2saved.errors import OutputError, ReaderGone

STDOUT, STDERR = 1, 2


class _Stream(io.FileIO):
    """A file descriptor; the first failed write to stdout raises OutputError, failures of stderr are ignored.

    Later writes are dropped, as Python writes remaining buffers at exit.
    """

    def __init__(self, descriptor: int, reason: str) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.descriptor = descriptor
        self.reason = reason  # why writes fail; "" while they work
        self.is_said = descriptor == STDERR
        self.failure = OutputError

    def write(self, content: Any) -> int:
        if not self.reason:
            try:
                return self._written(content)
            except OSError as error:
                self.reason = error.strerror or str(error)
                self.failure = ReaderGone if isinstance(error, BrokenPipeError) else OutputError
        if not self.is_said:
            self.is_said = True
            raise self.failure(f"stdout can't be written: {self.reason}")
        return len(content)

    def _written(self, content: Any) -> int:
        while True:
            count = super().write(content)
            if count is not None:
                return count
            select.select([], [self.descriptor], [])  # a full non-blocking pipe


def own_streams() -> None:
    """Replace sys.stdout and sys.stderr, unless they were already replaced.

    A closed descriptor is opened on the null device. Otherwise the next opened file would get its number, and with it
    everything that is written to stdout, also by the libraries of TensorFlow.
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
    errors = getattr(replaced, "errors", None) or "strict"
    errors = "backslashreplace" if errors == "strict" else errors  # a locale without UTF-8 lacks most characters
    if replaced is not None:
        replaced.flush()
    buffer = io.BufferedWriter(_Stream(descriptor, reason))
    return io.TextIOWrapper(buffer, encoding, errors, line_buffering=descriptor == STDERR or os.isatty(descriptor))


class Main(HelpfulGroup):
    """The command group as a process: sets up the streams, and a umask that denies write access to others."""

    def main(self, *arguments: Any, **keywords: Any) -> Any:
        own_streams()
        os.umask(os.umask(0o022) | 0o002)
        try:
            return super().main(*arguments, **keywords)
        except OutputError as error:  # from --help and --version
            if not isinstance(error, ReaderGone):  # nobody is left who would want to know
                click.echo(f"Error: {error}", err=True)
            sys.exit(error.exit_code)
