"""A plot of latency against throughput."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Tuple

from ckpt2saved.console.plotting import pyplot, write_figure
from ckpt2saved.verification.speed.figures import Row
from ckpt2saved.verification.speed.sweep import Measured, Result

_COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#9467bd", "#8c564b", "#17becf")
_SIZE = (9, 5.2)  # inches


def plot_result(result: Result, file: Path) -> None:
    """Draw p50 (line) and p99 (dashed) over lines per second, a curve for each target and batch, to PNG, SVG or PDF."""
    figure, axes = pyplot().subplots(figsize=_SIZE)
    number = 0
    for measured in result.measured:
        for batch, rows in _curves(measured):
            _draw(axes, rows, _name(result, measured, batch), _COLOURS[number % len(_COLOURS)])
            number += 1
    axes.set_yscale("log")
    lowest, highest = axes.get_ylim()
    if highest > 10 * lowest:  # the labels of 600 to 1000 would cover each other
        axes.set_yscale("log", subs=(2, 3, 5))
    axes.set_xlim(left=0)
    axes.set_xlabel("lines per second")
    axes.set_ylabel("latency in milliseconds")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.tick_params(axis="y", which="both", labelsize=8)
    axes.grid(True, which="both", color="#e8e8e8", linewidth=0.6)
    axes.set_axisbelow(True)
    first = result.measured[0].target
    title = f"signature {first.signature.name} of {first.model}: latency against throughput"
    axes.set_title(f"{title}\nlines: p50, dashed: p99; numbers: {_meaning(result)}", fontsize=10)
    axes.legend(loc="best", fontsize=8)
    write_figure(figure, axes, file)


def _curves(measured: Measured) -> List[Tuple[int, List[Row]]]:
    """The rows with answers by batch, in the order of the load."""
    batches = sorted({row.point.batch for row in measured.rows})
    return [
        (batch, [row for row in measured.rows if row.point.batch == batch and row.percentiles is not None])
        for batch in batches
    ]


def _draw(axes: Any, rows: List[Row], name: str, colour: str) -> None:
    throughputs = [row.lines_per_second for row in rows]
    medians, tails = ([(row.percentiles or [0.0] * 3)[place] * 1e3 for row in rows] for place in (0, 2))
    axes.plot(throughputs, medians, "o-", color=colour, label=name, markersize=4)
    axes.plot(throughputs, tails, "o--", color=colour, markersize=3, linewidth=0.8, alpha=0.7)
    for row, throughput, tail in zip(rows, throughputs, tails):
        load = f"{row.point.concurrency}" if row.point.rate is None else f"{row.point.rate:g}"
        shown = load if row.is_stable else f"{load}*"
        axes.annotate(
            shown, (throughput, tail), textcoords="offset points", xytext=(0, 6), ha="center", fontsize=7, color=colour
        )


def _name(result: Result, measured: Measured, batch: int) -> str:
    """The name of a curve: what differs between the curves."""
    target = measured.target
    parts = [target.name] if len(result.measured) > 1 else []
    settings = target.settings.text
    return ", ".join([*parts, f"batch {batch}", *([settings] if settings else [])])


def _meaning(result: Result) -> str:
    rows = [row for measured in result.measured for row in measured.rows]
    load = "requests at a time" if all(row.point.rate is None for row in rows) else "planned requests per second"
    return load + ("" if all(row.is_stable for row in rows) else " (*: p99 not stable)")
