"""Plots with matplotlib, an optional dependency, written without a display."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from ckpt2saved.errors import Ckpt2SavedError, UsageError
from ckpt2saved.files.write_errors import writing

_ENDINGS = (".png", ".svg", ".pdf")
_DOTS_PER_INCH = 150


def check_plot_file(path: Path, option: str) -> None:
    """Raise UsageError if no plot can be written to this path, Ckpt2SavedError if matplotlib is not installed."""
    if path.suffix.lower() not in _ENDINGS:
        raise UsageError(f"{option} {path}: expected the name of a file that ends in {', '.join(_ENDINGS)}")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"{option} {path}: there is no directory {path.parent}; create it, or write elsewhere")
    if importlib.util.find_spec("matplotlib") is None:
        raise Ckpt2SavedError("a plot needs matplotlib: pip install 'ckpt2saved[plot]'")


def pyplot() -> Any:
    """Import matplotlib.pyplot; raises Ckpt2SavedError if matplotlib is not installed."""
    try:
        import matplotlib
    except ModuleNotFoundError:
        raise Ckpt2SavedError("a plot needs matplotlib: pip install 'ckpt2saved[plot]'") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def write_figure(figure: Any, axes: Any, file: Path) -> None:
    """Write a figure without the upper and right lines of its axes to `file`, and close it; raises WriteError."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    with writing(file):
        figure.savefig(str(file), dpi=_DOTS_PER_INCH)
    pyplot().close(figure)
