"""Progress on stderr: a line for each finished step and, on a terminal, the current one."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING, Iterator, Optional, Sequence

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from ckpt2saved.console.foreign_text import terminal_safe
from ckpt2saved.console.say import Say, silent
from ckpt2saved.console.wrapping import is_terminal, wrapped

if TYPE_CHECKING:  # slow to import
    from rich.status import Status

_STEP_COLUMNS = 12  # of the names of steps, with a space
_LEAST_SHOWN = 1.0  # seconds


class Narration:
    """Called with the name and the result of each step."""

    def __init__(self, console: Console, doing: str, status: Optional[Status], on_step: Say) -> None:
        self._on_step = on_step
        self._console = console
        self._doing = doing
        self._status = status

    def __call__(self, step: str, text: str) -> None:
        text = terminal_safe(text)
        self._on_step(step, text)
        if self._status is None:
            self._console.print(f"{step:<11} {text}", markup=False)
        else:
            shown = _under_each_other(text, len(f"{step:<11} "), self._console.width)
            self._console.print(f"[bold]{escape(step):<11}[/bold] {escape(shown)}")
            self._status.update(Running(self._doing))

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table on stderr."""
        from ckpt2saved.console.tables import print_rows_on

        print_rows_on(self._console, headings, rows)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Context for printing on stdout, which may be the same terminal."""
        if self._status is None:
            yield
            return
        self._status.stop()
        try:
            yield
        finally:
            self._status.start()

    def begin(self, text: str) -> None:
        """Show on a terminal which step runs from now on, and for how long; prints nothing in a CI log."""
        if self._status is not None:
            self._status.update(Running(f"{self._doing}: {terminal_safe(text)}", time.monotonic()))

    def progress(self, text: str) -> None:
        """Show on a terminal how far the current step is; prints nothing in a CI log."""
        if self._status is not None:
            self._status.update(Running(f"{self._doing}: {terminal_safe(text)}"))


class Running:
    """The line beside the spinner: what runs, and the seconds since `start` if there is one."""

    def __init__(self, doing: str, start: Optional[float] = None) -> None:
        self.doing = doing
        self.start = start

    def __rich__(self) -> Text:
        """Made anew each time that the spinner turns."""
        return Text(self.text(time.monotonic()), no_wrap=True, overflow="ellipsis")

    def text(self, now: float) -> str:
        """Return the line at this time."""
        if self.start is None or now - self.start < _LEAST_SHOWN:
            return self.doing
        return f"{self.doing}  {now - self.start:.0f} s"


@contextlib.contextmanager
def narration(doing: str, *, quiet: bool, on_step: Say = silent) -> Iterator[Narration]:
    """Yield a function that prints a step's name and result; `on_step` is called with the same arguments."""
    on_terminal = is_terminal(sys.stderr)
    console = Console(
        stderr=True, quiet=quiet, highlight=False, soft_wrap=True, force_terminal=None if on_terminal else False
    )
    if not on_terminal or quiet:
        yield Narration(console, doing, None, on_step)
        return
    spinner = "dots" if (console.encoding or "").lower().startswith("utf") else "line"  # of ASCII alone
    with console.status(Running(doing), spinner=spinner) as status:
        yield Narration(console, doing, status, on_step)


def _under_each_other(text: str, first: int, width: int) -> str:
    """Return the lines of `text`, wrapped, each behind the column of the first."""
    lines = text.split("\n")
    shown = [wrapped(lines[0], width, _STEP_COLUMNS, first)]
    shown += [" " * _STEP_COLUMNS + wrapped(line, width, _STEP_COLUMNS, _STEP_COLUMNS) for line in lines[1:]]
    return "\n".join(shown)
