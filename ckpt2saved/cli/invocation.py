"""Shared by all commands: signals, errors, preparation of TensorFlow, narration, printed results."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import signal
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Callable, ContextManager, Dict, Iterator, Optional

import click

from ckpt2saved.cli.help import Examples, HelpfulCommand, Purpose
from ckpt2saved.console.foreign_text import terminal_safe
from ckpt2saved.console.interrupts import Interrupts, interrupt
from ckpt2saved.console.wrapping import is_terminal, width_of_terminal, wrapped_line
from ckpt2saved.errors import Ckpt2SavedError, OutputError, ReaderGone

if TYPE_CHECKING:  # slow to import
    from ckpt2saved.console.narration import Narration
    from ckpt2saved.console.report import Record

SETTINGS = {
    # Options may be written with underscores, as in the tools of TensorFlow.
    "token_normalize_func": lambda token: token.replace("_", "-"),
    "help_option_names": ["-h", "--help"],
    "max_content_width": 100,
}


class _Writing(HelpfulCommand):
    """Converts every OSError of a failed write into a WriteError."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except OSError as error:
            from ckpt2saved.files.write_errors import not_written

            failure = not_written(error)
            if failure is None:
                raise
            raise failure from error


_MOST_CODES = 3  # in the last line of an error
_ERROR_INDENT = 2  # of the further lines of a message


class _Failure(click.ClickException):
    """A Ckpt2SavedError as an exception that click prints, with its exit code."""

    def __init__(self, error: Ckpt2SavedError) -> None:
        super().__init__(terminal_safe(str(error)))
        self.exit_code = error.exit_code  # type: ignore[misc]  # click declares it of the class, reads it of this
        self._is_of_no_interest = isinstance(error, ReaderGone)
        self._codes = list(dict.fromkeys(problem.code for problem in error.problems))

    def show(self, file: Optional[IO[Any]] = None) -> None:
        """Print the message and how to see more about it, on a terminal with whole words in each line."""
        if self._is_of_no_interest:
            return  # who has closed stdout on purpose needs no message
        lines = f"Error: {self.format_message()}".split("\n")
        if self._codes:
            lines.append(f"More: ckpt2saved explain {' '.join(self._codes[:_MOST_CODES])}")
        if is_terminal(sys.stderr):
            width = width_of_terminal()
            lines = [wrapped_line(line, width, _ERROR_INDENT) for line in lines]
        click.echo("\n".join(lines), file=file, err=file is None)


_HAS_PRINTED = "ckpt2saved.has_printed_json"  # key in the context of a command


class Command(_Writing):
    """A command that prints a Ckpt2SavedError as its message, without traceback; bugs keep their traceback.

    With --json, stdout has the error as well, unless the command has printed its result before.
    """

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except Ckpt2SavedError as error:
            if context.params.get("as_json") and not context.meta.get(_HAS_PRINTED):
                from ckpt2saved.errors.problem import error_content

                with contextlib.suppress(OutputError):  # the error is printed on stderr in any case
                    print_json(error_content(error))
            raise _Failure(error) from error
        except SystemError as error:  # as Python names the interrupt of a function that is written in C
            if _interrupts.is_asked_for and isinstance(error.__cause__, KeyboardInterrupt):
                raise KeyboardInterrupt from error
            raise


def command(
    name: str, purpose: Purpose = Purpose.MORE, examples: Optional[Examples] = None
) -> Callable[[Callable[..., Any]], Command]:
    """Decorator that turns a function into a command of ckpt2saved, with the examples of its --help."""
    return click.command(name, cls=Command, context_settings=SETTINGS, purpose=purpose, examples=examples)


_OBJECTS_BEFORE_COLLECTION = 200000  # about 50 MB; Python's default of 700 costs inspect a fifth of its time

_interrupts = Interrupts(interrupt)


def heed_signals() -> None:
    """Install the signal handlers, and forget signals of an earlier command in this process."""
    _interrupts.is_asked_for = False
    # Clean up as for ctrl-C when a CI job is cancelled.
    signal.signal(signal.SIGTERM, _interrupts)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupts)


class UntilInterrupted:
    """A narration that raises KeyboardInterrupt again if the one of a signal was lost, as in a callback of weakref."""

    def __init__(self, say: Narration) -> None:
        self._say = say
        self.begin = say.begin
        self.progress = say.progress
        self.table = say.table

    def __call__(self, step: str, text: str) -> None:
        if _interrupts.is_asked_for:
            raise KeyboardInterrupt
        self._say(step, text)


def prepare_tensorflow(gpu: bool, *, compares: bool = False) -> None:
    """Before TensorFlow is imported: hide the GPUs unless `gpu`, silence what it logs, and let the process end fast.

    Where a command `compares` answers, GPUs multiply in float32. From Ampere on they would take TensorFloat-32, whose
    fraction has 10 bits, and a difference of 1e-3 would be no sign of a fault (NVIDIA_TF32_OVERRIDE in the
    documentation of cuBLAS and cuDNN).
    """
    import logging

    # Python's last collection visits all objects of TensorFlow's modules, 0.7 s, and frees nothing that outlives the
    # process. It passes over frozen objects. After TensorFlow's own functions at exit, which are registered later.
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)

    if not gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    elif compares:
        os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
    # Keras imports matplotlib, which fails if this names a module of the Python of a notebook that runs the command.
    if os.environ.get("MPLBACKEND", "").startswith("module://"):
        del os.environ["MPLBACKEND"]
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


@contextlib.contextmanager
def rare_collections() -> Iterator[None]:
    """Make garbage collections rare: on large graphs they visit many objects and free few."""
    thresholds = gc.get_threshold()
    gc.set_threshold(_OBJECTS_BEFORE_COLLECTION, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)


def narration(doing: str, **how: Any) -> ContextManager[Narration]:
    """The narration of a command on stderr."""
    from ckpt2saved.console.narration import narration

    return narration(doing, **how)


def reported(path: Optional[Path], command: str) -> ContextManager[Record]:
    """The record for --report."""
    from ckpt2saved.console.report import reported

    return reported(path, command, warn)


def print_json(content: Dict[str, Any]) -> None:
    """Print the content of --json, with its format number; in UTF-8, whatever the locale is."""
    import json

    text = json.dumps(dict(content, format=1), indent=2, ensure_ascii=False)
    click.get_current_context().meta[_HAS_PRINTED] = True
    click.echo(text.encode("utf-8", "backslashreplace"))  # JSON may hold \udcff, a byte of a file name


def print_json_line(content: Dict[str, Any]) -> None:
    """Print one of several objects of --json on a line of its own, at once."""
    import json

    text = json.dumps(dict(content, format=1), ensure_ascii=False)
    click.get_current_context().meta[_HAS_PRINTED] = True
    click.echo(text.encode("utf-8", "backslashreplace"))


@contextlib.contextmanager
def stop_at_signals(request: Callable[[], None]) -> Iterator[None]:
    """Context in which SIGINT and SIGTERM call `request`, in place of a KeyboardInterrupt wherever the program is."""
    handler = Interrupts(request)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, earlier in before.items():
        if earlier is not signal.SIG_IGN:  # as a shell sets SIGINT for a program in the background
            signal.signal(number, handler)
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


@contextlib.contextmanager
def printed(done: str) -> Iterator[None]:
    """Context for printing a result: if stdout fails after `done`, warn on stderr and go on.

    If `done` is empty, the OutputError is raised, because the command has only this result.
    """
    try:
        yield
    except OutputError as error:
        if not done:
            raise
        warn(f"{done}; {error}")


def warn(text: str) -> None:
    """Print a warning on stderr."""
    click.echo(f"Warning: {terminal_safe(text)}", err=True)
