"""Plots of benchmark results with matplotlib, an optional dependency."""

from __future__ import annotations

from pathlib import Path
from typing import Mapping, Sequence

from ckpt2saved.console.plotting import pyplot, write_figure
from ckpt2saved.ctc.bench import DECODERS, Timing

_COLOURS = {"stock": "#b0b0b0", "fast": "#1f77b4", "greedy": "#ff9f40"}


def plot_decoders(timings: Sequence[Timing], machine: Mapping[str, str], file: Path) -> None:
    """Write a bar chart of the decoders' seconds, on a logarithmic axis, to `file` (PNG, SVG or PDF)."""
    figure, axes = pyplot().subplots(figsize=(9, 0.62 * len(timings) + 1.6))
    height = 0.8 / len(DECODERS)
    for offset, decoder in enumerate(DECODERS):
        places = [row + offset * height for row in range(len(timings))]
        seconds = [timing.seconds[decoder] for timing in timings]
        axes.barh(places, seconds, height=height, color=_COLOURS[decoder], label=decoder)
        for place, value in zip(places, seconds):
            axes.text(value, place, f" {value:.3g} s", va="center", fontsize=7)
    axes.set_yticks([row + height for row in range(len(timings))])
    axes.set_yticklabels([str(timing.case) for timing in timings], fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.margins(x=0.15)
    axes.set_xlabel("seconds for a batch (batch x steps x classes)")
    axes.set_title("CTC decoders, TensorFlow {tensorflow}, {machine}".format(**machine), fontsize=10)
    axes.legend(loc="lower right", fontsize=8)
    write_figure(figure, axes, file)
