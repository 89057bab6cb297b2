"""A Markdown report of a command for the summary of a CI job: outcome, steps and errors."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Callable, Iterable, Iterator, List, Optional, Sequence, Tuple

from ckpt2saved.console.foreign_text import one_line, terminal_safe
from ckpt2saved.errors import OutputError


class Record:
    """The steps and the outcome of a command, collected while it runs."""

    def __init__(self) -> None:
        self.steps: List[Tuple[str, str]] = []
        self.details = ""  # Markdown that follows the steps
        self.outcome = ""  # the effect that remains if the command fails later
        self.is_done = False  # running the command again would repeat its effect

    def add(self, step: str, text: str) -> None:
        """Record a step and its result."""
        self.steps.append((step, text))


@contextlib.contextmanager
def reported(path: Optional[Path], command: str, warn: Callable[[str], None] = lambda text: None) -> Iterator[Record]:
    """Yield a Record, and append it to the file `path` as Markdown when the block ends; None: no file.

    It is appended because the step summary of GitHub Actions may have content already. Raises OutputError if the file
    can't be written, before or after the block. If the block has failed, or its effect is permanent, `warn` is called
    instead.
    """
    record = Record()
    if path is None:
        yield record
        return
    _append(path, "")
    try:
        yield record
    except BaseException as error:
        try:
            _append(path, _page(record, command, _failure(record, error), _text(error)))
        except OutputError as unwritten:
            warn(str(unwritten))
        raise
    try:
        _append(path, _page(record, command, record.outcome or "done", ""))
    except OutputError as unwritten:
        if not record.is_done:
            raise
        warn(f"{record.outcome.replace('`', '')}; {unwritten}")


def _append(path: Path, text: str) -> None:
    try:
        # O_NONBLOCK: do not block on a pipe without reader.
        descriptor = os.open(str(path), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o644)
        with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:  # noqa: PTH123
            os.set_blocking(descriptor, True)
            file.write(text)
    except OSError as error:
        text = f"--report {path}: {error.strerror}; expected a file that can be written"
        raise OutputError(text) from error


def _failure(record: Record, error: BaseException) -> str:
    code = getattr(error, "exit_code", None)  # only errors that a user can cause have one
    failed = "failed" if code is None else f"exit code {code}"
    return f"{record.outcome}, then {failed}" if record.outcome else failed


def _text(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    text = str(error) if hasattr(error, "exit_code") else f"{type(error).__name__}: {error}"
    return terminal_safe(text)


def _page(record: Record, command: str, heading: str, error: str) -> str:
    lines = [f"### ckpt2saved {command}: {one_line(heading)}", ""]
    if error:
        fence = "`" * max(3, _longest_run(error) + 1)
        lines += [fence + "text", error, fence, ""]
    if record.steps:
        lines.append(markdown_table(("step", ""), record.steps))
    if record.details:
        lines.append(record.details)
    return "\n".join(lines) + "\n"


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table of untrusted texts, with a blank line after it."""
    lines = ["|" + "".join(f" {heading} |" if heading else " |" for heading in headings), "|---" * len(headings) + "|"]
    lines += ["| " + " | ".join(map(_cell, cells)) + " |" for cells in rows]
    return "\n".join(lines) + "\n"


def _longest_run(text: str) -> int:
    return max(len(run) for run in "".join(c if c == "`" else " " for c in text).split(" "))


def _cell(text: str) -> str:
    """Escape Markdown in a table cell, as one line."""
    text = terminal_safe(text)
    for character in "\\`*_[]<>|#~$":
        text = text.replace(character, "\\" + character)
    return "<br>".join(text.splitlines())
