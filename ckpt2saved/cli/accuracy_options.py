"""The options of `evaluate` and `export` about labelled pictures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, Optional

import click

from ckpt2saved.cli.help import Topic
from ckpt2saved.cli.options import PathType, address_type, is_on_command_line, option

if TYPE_CHECKING:  # slow to import
    from ckpt2saved.client.address import Address

_EVALUATION = ("allow_empty", "nfc", "batch_size")

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
        "--server",
        type=address_type,
        metavar="URL",
        help="With --not-worse-than live: the TF Serving to compare with. Default: that of --wait-for.",
        topic=Topic.LABELS,
    ),
)


def accuracy_options(function: Callable[..., None]) -> Callable[..., None]:
    """Decorator that adds the options that `read_evaluation` reads, and --max-cer."""
    return _with(_OPTIONS, function)


def gate_options(function: Callable[..., None]) -> Callable[..., None]:
    """Decorator that adds the options that `read_gate` reads."""
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


def read_evaluation(lines: Path, signature: Any, values: Dict[str, Any]) -> Any:
    """Remove the options about labels from `values`; returns EvaluationOptions. Raises LabelsError."""
    from ckpt2saved.requests.pictures import PICTURES_OF_A_REQUEST
    from ckpt2saved.verification.accuracy.labels import read_labels

    return _read(lines, read_labels, PICTURES_OF_A_REQUEST, signature, values)


def read_page_evaluation(pages: Path, signature: Any, values: Dict[str, Any]) -> Any:
    """Remove the options about labels from `values`; returns EvaluationOptions. Raises LabelsError."""
    from ckpt2saved.requests.pictures import PAGES_OF_A_REQUEST
    from ckpt2saved.verification.accuracy.page_labels import read_page_labels

    return _read(pages, read_page_labels, PAGES_OF_A_REQUEST, signature, values)


def _read(path: Path, read: Callable[[Path, bool], Any], most: int, signature: Any, values: Dict[str, Any]) -> Any:
    from ckpt2saved.verification.accuracy.evaluation import EvaluationOptions
    from ckpt2saved.verification.accuracy.figures import require_distances

    allow_empty, normalise, requested = (values.pop(name) for name in _EVALUATION)
    require_distances()
    return EvaluationOptions(read(path, allow_empty), signature, most=requested or most, normalise=normalise)


def read_gate(values: Dict[str, Any], base: Path, wait_for: Optional[Address], model_name: Optional[str]) -> Any:
    """Remove the options of the gate from `values`; returns an AccuracyGate, or None without --lines."""
    lines, signature = values.pop("lines"), values.pop("lines_signature")
    max_cer, baseline, tolerance = values.pop("max_cer"), values.pop("not_worse_than"), values.pop("tolerance")
    server = values.pop("server")
    _refuse_stray(lines, baseline)
    if lines is None:
        for name in _EVALUATION:
            del values[name]
        return None
    from ckpt2saved.exporting.accuracy import AccuracyGate
    from ckpt2saved.verification.accuracy.gate import Limits

    options = read_evaluation(lines, signature, values)
    source = None if baseline is None else _baseline(baseline, base, server or wait_for, model_name)
    note = "--not-worse-than newest: there is no version yet to compare with" if baseline and not source else ""
    return AccuracyGate(options, Limits(max_cer, tolerance or 0.0), source, note)


def _refuse_stray(lines: Optional[Path], baseline: Optional[str]) -> None:
    """Raise UsageError for options on the command line that have no effect."""
    of_lines = [*_EVALUATION, "max_cer", "lines_signature", "not_worse_than"] if lines is None else []
    option_of = {parameter.name: parameter.opts[0] for parameter in click.get_current_context().command.params}
    for names, needed in (
        (of_lines, "--lines"),
        (["tolerance"] if baseline is None else [], "--not-worse-than"),
        (["server"] if baseline != "live" else [], "--not-worse-than live"),
    ):
        stray = [option_of[name] for name in names if is_on_command_line(name)]
        if stray:
            raise click.UsageError(f"{', '.join(stray)}: only with {needed}")


def _baseline(text: str, base: Path, server: Optional[Address], model_name: Optional[str]) -> Any:
    from ckpt2saved.verification.accuracy.baselines import LIVE, live_baseline, version_baseline

    if text != LIVE:
        return version_baseline(text, base)
    if server is None:
        raise click.UsageError(
            "--not-worse-than live: only with the address of a server: --server URL or --wait-for URL"
        )
    from ckpt2saved.client.address import ModelAddress
    from ckpt2saved.client.model_client import Client

    name = model_name or Path(os.path.abspath(str(base))).name
    return live_baseline(Client(ModelAddress(server, name)))
