"""What every command does around its one call: heeds signals and errors, prepares TensorFlow, narrates, prints."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, ContextManager, Dict, Iterator, List, Optional

import click

from ckpt2saved.console.foreign_text import harmless
from ckpt2saved.errors import Ckpt2SavedError, OutputError

if TYPE_CHECKING:  # slow to import
    from ckpt2saved.console.narration import Narration
    from ckpt2saved.console.report import Record

SETTINGS = {
    # An underscore does for a hyphen, as in TensorFlow's own tools.
    "token_normalize_func": lambda token: token.replace("_", "-"),
    "help_option_names": ["-h", "--help"],
    "max_content_width": 100,
}


class _Writing(click.Command):
    """Raises a file that the disk does not take as a WriteError, whoever wrote it and wherever."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except OSError as error:
            from ckpt2saved.files.write_errors import not_written

            failure = not_written(error)
            if failure is None:
                raise
            raise failure from error


class _Failure(click.ClickException):
    """The message of a Ckpt2SavedError, for click to print, and its exit code."""

    def __init__(self, error: Ckpt2SavedError) -> None:
        super().__init__(harmless(str(error)))
        self.exit_code = error.exit_code  # type: ignore[misc]  # click declares it of the class, reads it of this


class Command(_Writing):
    """Shows a Ckpt2SavedError as its message with its exit code, never as a traceback; bugs keep theirs."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except Ckpt2SavedError as error:
            raise _Failure(error) from error


def command(name: str) -> Callable[[Callable[..., Any]], Command]:
    """A decorator that makes a function a command of ckpt2saved."""
    return click.command(name, cls=Command, context_settings=SETTINGS)


_OBJECTS_BEFORE_COLLECTION = 200000  # some 50 MB; Python's own 700 cost inspect a fifth of its time

_signals: List[int] = []


def heed_signals() -> None:
    """From here on a signal ends the work, and whatever ended an earlier command of this process is forgotten."""
    _signals.clear()
    # As ctrl-C: leave nothing behind when a CI job is cancelled.
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def _interrupt(number: int, frame: Any) -> None:
    _signals.append(number)
    raise KeyboardInterrupt


class UntilInterrupted:
    """A narration that ends the work where a signal's exception was lost, as in a destructor that Python ran."""

    def __init__(self, say: Narration) -> None:
        self._say = say
        self.progress = say.progress

    def __call__(self, step: str, text: str) -> None:
        if _signals:
            raise KeyboardInterrupt
        self._say(step, text)


def prepare_tensorflow(gpu: bool) -> None:
    """Before it is imported: which devices it may take, and that its deprecations are not this command's news."""
    import logging

    if not gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


@contextlib.contextmanager
def rare_collections() -> Iterator[None]:
    """For work on large graphs: a full garbage collection visits all of TensorFlow's objects, and finds hardly any."""
    thresholds = gc.get_threshold()
    gc.set_threshold(_OBJECTS_BEFORE_COLLECTION, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)


def narration(doing: str, **how: Any) -> ContextManager[Narration]:
    """The narration of a command, on stderr."""
    from ckpt2saved.console.narration import narration

    return narration(doing, **how)


def reported(path: Optional[Path], command: str) -> ContextManager[Record]:
    """The record that --report asks for."""
    from ckpt2saved.console.report import reported

    return reported(path, command, _warn)


def print_result(content: Dict[str, Any], path: Path, as_json: bool) -> None:
    """Print a version that was published, or in a dry run would be."""
    with printed("" if content["dry_run"] else f"{path} is published"):
        if as_json:
            print_json(content)
        else:
            click.echo(str(path))


def print_json(content: Dict[str, Any]) -> None:
    """Print what --json asks for, with the number of its format."""
    import json

    click.echo(json.dumps(dict(content, format=1), indent=2, ensure_ascii=False))


@contextlib.contextmanager
def printed(done: str) -> Iterator[None]:
    """For a block that prints what was `done`: where it can't, that is said on stderr, and is done all the same.

    With nothing done the command has failed, as printing is all that it does.
    """
    try:
        yield
    except OutputError as error:
        if not done:
            raise
        _warn(f"{done}; {error}")


@contextlib.contextmanager
def after_publishing(path: str) -> Iterator[None]:
    """For what comes after a version was published: whatever ends it, the user learns that it must not be run again."""
    try:
        yield
    except BaseException as error:
        if getattr(error, "exit_code", 1) == 1:
            _warn(
                f"{path} is published: to run this again would publish it twice; ckpt2saved verify {path} --server asks"
                " again"
            )
        raise


def _warn(text: str) -> None:
    click.echo(f"Warning: {harmless(text)}", err=True)
