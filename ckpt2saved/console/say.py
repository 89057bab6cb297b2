"""How the steps of a command are reported: a function that is called with the name and the result of each step.

A Narration also shows which step runs; of a plain function only the results are known.
"""

from __future__ import annotations

from typing import Any, Callable, Sequence

Say = Callable[[str, str], None]


def silent(step: str, text: str) -> None:
    """Report nothing."""


def begin(say: Say, text: str) -> None:
    """Report the step that begins to `say`, if it is a Narration."""
    getattr(say, "begin", lambda text: None)(text)


def progress_of(say: Say) -> Callable[[str], None]:
    """Return the progress function of `say`; one that prints nothing if `say` is not a Narration."""
    return getattr(say, "progress", lambda text: None)


def table_of(say: Say) -> Callable[[Sequence[str], Sequence[Sequence[str]]], None]:
    """Return the function of `say` that prints a table; one that prints nothing if `say` is not a Narration."""
    return getattr(say, "table", lambda headings, rows: None)


def on_published(say: Say) -> Callable[[Any], None]:
    """Return the function of `say` that gets a version once it is published; one that does nothing if it has none."""
    return getattr(say, "published", lambda version: None)
