"""The options of `evaluate` and `export` about labelled pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict

import click

from ckpt2saved.cli.options import PathType, option

_OPTIONS = (
    option(
        "--allow-empty", is_flag=True, help="Allow lines without text in the labels file: pictures that show no text."
    ),
    option(
        "--nfc/--no-nfc",
        "nfc",
        default=True,
        show_default=True,
        help="Compare texts in Unicode's composed form, in which é is one character.",
    ),
    option(
        "--batch-size",
        type=click.IntRange(min=1),
        default=32,
        show_default=True,
        metavar="N",
        help="Pictures of one request. A server with --enable_batching may refuse more than 32.",
    ),
    option(
        "--max-cer",
        type=click.FloatRange(min=0, max=1),
        metavar="RATE",
        help="Highest character error rate, as a fraction: 0.05 for 5 %. Exit code 3 if it is higher.",
    ),
)


def accuracy_options(function: Callable[..., None]) -> Callable[..., None]:
    """Decorator that adds the options that `read_evaluation` reads, and --max-cer."""
    for one in reversed(_OPTIONS):
        function = one(function)
    return function


def lines_option(*, required: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The option --lines."""
    return option(
        "--lines",
        type=PathType(),
        required=required,
        metavar="FILE.tsv",
        help=(
            "Labels file in UTF-8: path<TAB>text for each picture, paths relative to its folder. "
            + ("" if required else "The staged files read the pictures before they are published.")
        ).strip(),
    )


def read_evaluation(lines: Path, signature: Any, values: Dict[str, Any]) -> Any:
    """Remove the options about labels from `values`; returns EvaluationOptions. Raises LabelsError."""
    from ckpt2saved.verify.accuracy.evaluation import EvaluationOptions
    from ckpt2saved.verify.accuracy.figures import require_distances
    from ckpt2saved.verify.accuracy.labels import read_labels

    allow_empty, normalise, most = values.pop("allow_empty"), values.pop("nfc"), values.pop("batch_size")
    require_distances()
    labels = read_labels(lines, allow_empty)
    return EvaluationOptions(labels, signature, most=most, normalise=normalise)
