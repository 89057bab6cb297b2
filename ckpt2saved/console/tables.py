"""Tables for people on stdout; programs use --json."""

from __future__ import annotations

import os
from typing import Any, Collection, Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ckpt2saved.console.foreign_text import terminal_safe
from ckpt2saved.console.wrapping import wrapped

_RIGHT = ("version", "size")  # columns of numbers
_LABEL_COLUMNS = 10
_MOST_FOLDED = 200  # rows of a table that is folded
_WIDTH_WITHOUT_TERMINAL = 120  # rich's default of 80 would fold paths in a CI log


def print_rows(headings: Sequence[str], rows: Sequence[Sequence[str]], styles: Sequence[str]) -> None:
    """Print one line for each row in its style; short tables are folded to the terminal's width."""
    if len(rows) > _MOST_FOLDED:
        _print_lines([headings, *rows], ["bold", *styles])
        return
    _print(_table(headings, rows, styles))


def print_rows_on(console: Console, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on another console than that of stdout."""
    width = None if console.is_terminal else _width()
    console.print(_table(headings, rows, [""] * len(rows)), width=width, soft_wrap=False)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], styles: Sequence[str]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="right" if heading in _RIGHT else "left", overflow="fold")
    for cells, style in zip(rows, styles):
        table.add_row(*[Text(terminal_safe(cell), style=style) for cell in cells])
    return table


def _print_lines(rows: Sequence[Sequence[str]], styles: Sequence[str]) -> None:
    """Print each row as one unfolded line; folding thousands of rows would be slow."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows)]
    is_right = [heading in _RIGHT for heading in rows[0]]
    text = Text()
    for cells, style in zip(rows, styles):
        cells = [cell.replace("\n", "; ") for cell in cells]
        aligned = [cell.rjust(n) if right else cell.ljust(n) for cell, n, right in zip(cells, widths, is_right)]
        text.append(terminal_safe("   ".join(aligned)).rstrip() + "\n", style=style)
    console = stdout()
    if console.is_terminal:
        console.print(text, end="", soft_wrap=True)
    else:
        console.file.write(text.plain)


def print_figures(
    title: str, headings: Sequence[str], rows: Sequence[Sequence[str]], left: Collection[str] = ()
) -> None:
    """Print a table of numbers below its title; the columns in `left` are texts."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, title=Text(terminal_safe(title), style="italic"))
    for heading in headings:
        table.add_column(heading, justify="left" if heading in left else "right")
    for cells in rows:
        table.add_row(*[Text(terminal_safe(cell)) for cell in cells])
    _print(table)


def print_timings(timings: Sequence[Any], machine: Mapping[str, str]) -> None:
    """Print one line for each case: what was decoded, seconds of each decoder, and the speed-up."""
    size = "batch x steps x classes"
    rows = []
    for timing in timings:
        case = timing.case
        cells = [f"{case.batch} x {case.steps} x {case.classes}", str(case.beam_width), case.logits]
        cells += [f"{timing.seconds[decoder]:.3g}" for decoder in ("stock", "fast", "greedy")]
        rows.append([*cells, f"{timing.speedup:.3g}x"])
    print_figures(
        "seconds, TensorFlow {tensorflow}, {machine}".format(**machine),
        (size, "width", "logits", "stock", "fast", "greedy", "stock / fast"),
        rows,
        left=(size, "logits"),
    )


def print_labelled(console: Console, label: str, text: str, style: str = "") -> None:
    """Print a paragraph after its label, with its further lines indented."""
    shown = Text(f"{label:<{_LABEL_COLUMNS}} ", style="bold")
    for number, line in enumerate(terminal_safe(text).split("\n")):
        indent = _LABEL_COLUMNS + 1
        shown.append(" " * indent if number else "").append(wrapped(line, console.width, indent, indent), style=style)
        shown.append("\n")
    console.print(shown, end="", soft_wrap=True)


def stdout() -> Console:
    """Return the console for tables, as wide as the terminal or as a CI log may be."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(width=_width(), highlight=False)


def _width() -> int:
    """Return COLUMNS, which users set to override the width of CI logs."""
    asked = os.environ.get("COLUMNS", "")
    return int(asked) if asked.isdigit() and int(asked) > 0 else _WIDTH_WITHOUT_TERMINAL


def _print(table: Table) -> None:
    stdout().print(table)
