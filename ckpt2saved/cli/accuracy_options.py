"""The options of `evaluate` and `export` about labelled pictures."""

from __future__ import annotations

from typing import Any, Callable

import click

from ckpt2saved.cli.help import Topic
from ckpt2saved.cli.options import PathType, address_type, option

_OPTIONS = (
    option(
        "--allow-empty",
        is_flag=True,
        help="Allow lines without text in the labels file: pictures that show no text.",
        topic=Topic.LABELS,
    ),
    option(
        "--nfc/--no-nfc",
        "nfc",
        default=True,
        show_default=True,
        help="Compare texts in Unicode's composed form, in which é is one character.",
        topic=Topic.LABELS,
    ),
    option(
        "--batch-size",
        type=click.IntRange(min=1),
        metavar="N",
        help="Pictures of one request. Fewer are sent if a server refuses so many. Default: 32 lines, 8 pages.",
        topic=Topic.LABELS,
    ),
    option(
        "--max-cer",
        type=click.FloatRange(min=0, max=1),
        metavar="RATE",
        help="Highest character error rate, as a fraction: 0.05 for 5 %. Exit code 3 if it is higher.",
        topic=Topic.LABELS,
    ),
)
_GATE = (
    option(
        "--lines-signature",
        metavar="NAME",
        help="Signature that reads the pictures of --lines. Default: text, or the only one that reads text.",
        topic=Topic.LABELS,
    ),
    option(
        "--not-worse-than",
        metavar="newest|live|N|VERSION_DIR",
        help=(
            "With --lines: publish only if the character error rate is not higher than that of the newest version, of "
            "the version that a server answers from (--server), or of another version. Exit code 3 if it is higher."
        ),
        topic=Topic.LABELS,
    ),
    option(
        "--tolerance",
        type=click.FloatRange(min=0, max=1),
        metavar="RATE",
        help="With --not-worse-than: how much higher the rate may be, as a fraction. Default: 0.",
        topic=Topic.LABELS,
    ),
    option(
        "--better-than",
        metavar="newest|live|N|VERSION_DIR",
        help="As --not-worse-than, but the character error rate must be lower.",
        topic=Topic.LABELS,
    ),
    option(
        "--server",
        type=address_type,
        metavar="URL",
        help=(
            "With live as --not-worse-than, --better-than or --compatible-with: the TF Serving to compare with. "
            "Default: that of --wait-for."
        ),
        topic=Topic.LABELS,
    ),
)


def accuracy_options(function: Callable[..., None]) -> Callable[..., None]:
    """Decorator that adds the options of `evaluate` and `export`."""
    return _with(_OPTIONS, function)


def gate_options(function: Callable[..., None]) -> Callable[..., None]:
    """Decorator that adds the options of `export`."""
    return lines_option(of_export=True)(_with((*_OPTIONS, *_GATE), function))


def _with(options: Any, function: Callable[..., None]) -> Callable[..., None]:
    for one in reversed(options):
        function = one(function)
    return function


pages_option = option(
    "--pages",
    type=PathType(),
    metavar="FILE.json",
    help=(
        "Labels file of pages, in place of --lines: a JSON list with the picture of each page, and the text and the "
        "corners of its lines."
    ),
    topic=Topic.LABELS,
)


def lines_option(*, of_export: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The option --lines."""
    return option(
        "--lines",
        type=PathType(),
        metavar="FILE.tsv",
        help=(
            "Labels file in UTF-8: path<TAB>text for each picture, paths relative to its folder. "
            + ("" if not of_export else "The staged files read the pictures before they are published.")
        ).strip(),
        topic=Topic.LABELS,
    )
