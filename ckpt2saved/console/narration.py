"""Progress on stderr: a line for each finished step and, on a terminal, the current one."""

from __future__ import annotations

import contextlib
from typing import Callable, Iterator, Optional, Sequence

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from ckpt2saved.console.foreign_text import terminal_safe
from ckpt2saved.console.tables import print_rows_on

Say = Callable[[str, str], None]


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
            self._console.print(f"[bold]{escape(step):<11}[/bold] {escape(text)}")
            self._status.update(self._doing)

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table on stderr."""
        print_rows_on(self._console, headings, rows)

    def progress(self, text: str) -> None:
        """Show the current operation on a terminal; prints nothing in a CI log."""
        if self._status is not None:
            self._status.update(f"{escape(self._doing)}: {escape(terminal_safe(text))}")


def progress_of(say: Say) -> Callable[[str], None]:
    """Return the progress function of `say`; one that prints nothing if `say` is not a Narration."""
    return getattr(say, "progress", lambda text: None)


@contextlib.contextmanager
def narration(doing: str, *, quiet: bool, on_step: Say = lambda step, text: None) -> Iterator[Narration]:
    """Yield a function that prints a step's name and result; `on_step` is called with the same arguments."""
    console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
    if not console.is_terminal or quiet:
        yield Narration(console, doing, None, on_step)
        return
    with console.status(doing) as status:
        yield Narration(console, doing, status, on_step)
