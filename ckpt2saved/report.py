"""A Markdown page of what a command did, for the summary of a CI job: the outcome, the steps, and what went wrong."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Iterator, Optional

from ckpt2saved.errors import Ckpt2SavedError


class Record:
    """What a command has to tell, as it goes along."""

    def __init__(self) -> None:
        self.steps = []  # type: List[Tuple[str, str]]
        self.outcome = ""  # what stays, even if the command fails afterwards

    def hear(self, step: str, text: str) -> None:
        """Write down a step and what came of it."""
        self.steps.append((step, text))


@contextlib.contextmanager
def reported(path: Optional[Path], command: str) -> Iterator[Record]:
    """Yield a Record, and append it to the file `path` as Markdown, however the command ends; None: to no file.

    Appended, since the summary of a step of GitHub Actions may have something in it already. Raises Ckpt2SavedError
    where the file can't be written, before the command begins.
    """
    record = Record()
    if path is None:
        yield record
        return
    _append(path, "")
    try:
        yield record
    except BaseException as error:
        _append(path, _page(record, command, _failure(record, error), _text(error)))
        raise
    _append(path, _page(record, command, record.outcome or "done", ""))


def _append(path: Path, text: str) -> None:
    try:
        with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError as error:
        text = "--report {}: {}; expected a file that can be written".format(path, error.strerror)
        raise Ckpt2SavedError(text) from error


def _failure(record: Record, error: BaseException) -> str:
    code = getattr(error, "exit_code", None)  # of what a user can cause
    failed = "failed" if code is None else "exit code {}".format(code)
    return "{}, then {}".format(record.outcome, failed) if record.outcome else failed


def _text(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return str(error) if hasattr(error, "exit_code") else "{}: {}".format(type(error).__name__, error)


def _page(record: Record, command: str, heading: str, error: str) -> str:
    lines = ["### ckpt2saved {}: {}".format(command, heading), ""]
    if error:
        fence = "`" * max(3, _longest_run(error) + 1)
        lines += [fence + "text", error, fence, ""]
    if record.steps:
        lines += ["| step | |", "|---|---|"]
        lines += ["| {} | {} |".format(_cell(step), _cell(text)) for step, text in record.steps]
        lines.append("")
    return "\n".join(lines) + "\n"


def _longest_run(text: str) -> int:
    return max(len(run) for run in "".join(c if c == "`" else " " for c in text).split(" "))


def _cell(text: str) -> str:
    """The text as it is, whatever Markdown would make of it, on one line of a table."""
    for character in "\\`*_[]<>|#~$":
        text = text.replace(character, "\\" + character)
    return "<br>".join(text.splitlines())
