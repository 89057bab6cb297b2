"""The command `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional, Union

import click

from ckpt2saved.cli.accuracy_options import (
    accuracy_options,
    lines_option,
    pages_option,
    read_evaluation,
    read_page_evaluation,
)
from ckpt2saved.cli.help import Purpose, Topic
from ckpt2saved.cli.invocation import command, narration, print_json, printed, reported
from ckpt2saved.cli.model_place import place_argument, place_options, read_model
from ckpt2saved.cli.options import PathType, json_option, option, quiet_option, report_option

if TYPE_CHECKING:  # slow to import
    from ckpt2saved.client.address import ModelAddress
    from ckpt2saved.verification.accuracy.report import Report


@command(
    "evaluate",
    Purpose.CHECKS,
    {
        Topic.LABELS: ["models/crnn/3 --lines lines.tsv --max-cer 0.05"],
        Topic.SERVER: ["http://localhost:8501/v1/models/crnn --lines lines.tsv --timeout 120"],
        Topic.OUTPUT: ["models/crnn --lines lines.tsv --worst worst.png --worst-count 10"],
        None: ["models/crnn --lines lines.tsv", "models/ocr --pages pages.json --json"],
    },
)
@place_argument
@lines_option(of_export=False)
@pages_option
@option(
    "--signature",
    metavar="NAME",
    help="Signature that reads the pictures. Default: text (page for --pages), or the only one that does.",
    topic=Topic.LABELS,
)
@accuracy_options
@option(
    "--worst",
    type=PathType(),
    metavar="FILE.png",
    help="Draw the lines that are read worst: picture, reference and answer. Needs Pillow.",
    topic=Topic.OUTPUT,
)
@option(
    "--worst-count",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    metavar="N",
    help="Number of lines for --worst.",
    topic=Topic.OUTPUT,
)
@option(
    "--font",
    type=PathType(),
    metavar="FILE.ttf",
    help="Font for the texts of --worst. Default: DejaVu Sans if matplotlib or the system has it.",
    topic=Topic.OUTPUT,
)
@place_options
@report_option
@json_option
@quiet_option
def evaluate(
    place: Union[Path, ModelAddress],
    lines: Optional[Path],
    pages: Optional[Path],
    signature: Optional[str],
    max_cer: Optional[float],
    worst: Optional[Path],
    worst_count: int,
    font: Optional[Path],
    report: Optional[Path],
    as_json: bool,
    quiet: bool,
    **more: Any,
) -> None:
    """Measure how much of the text of labelled pictures a version reads: character and word error rate.

    With --lines, pictures of one line each; with --pages, pages, of which it also counts the lines that are found.

    VERSION_DIR is a version, BASE a base directory (its newest complete version), URL the address of a model on a
    server: http://HOST:8501/v1/models/NAME, with /versions/N for one version, or the same with grpc://. No TensorFlow
    is needed for a server.
    """
    from ckpt2saved.verification.accuracy.gate import Limits, judge

    labels = _labels(lines, pages)
    with reported(report, "evaluate") as record:
        if worst is not None:
            from ckpt2saved.console.drawing import check_picture_file

            if pages is not None:
                raise click.UsageError("--worst: it draws pictures of lines; only with --lines")
            check_picture_file(worst, "--worst")
        options = (read_evaluation if pages is None else read_page_evaluation)(labels, signature, more)
        with narration("evaluate", quiet=quiet, on_step=record.add) as say:
            model = read_model(place, more, say)
            where = model.name
            found = (_of_lines if pages is None else _of_pages)(model, options, say.progress)
            say("evaluated", f"{where}, signature {found.signature}, {labels}")
        record.add("accuracy", found.summary)
        record.details = found.as_markdown()
        verdict = judge(found.text, Limits(max_cer))
        if worst is not None:
            from ckpt2saved.verification.accuracy.worst_picture import draw_worst

            draw_worst(found.text.worst[:worst_count], worst, font)
        with printed(""):
            if as_json:
                file = {"path": str(labels), "sha256": options.labels.sha256}
                print_json({"model": where, "labels": file, **found.content, **verdict.as_content()})
            else:
                found.print()
        verdict.raise_if_worse(where, "")
        record.outcome = f"`{where}`: {found.summary}"


def _labels(lines: Optional[Path], pages: Optional[Path]) -> Path:
    """The one labels file; raises UsageError for none, or both."""
    given = [path for path in (lines, pages) if path is not None]
    if len(given) != 1:
        found = "found both" if given else "found neither"
        raise click.UsageError(f"{found}; expected labelled pictures: --lines FILE.tsv, or --pages FILE.json")
    return given[0]


def _of_lines(model: Any, options: Any, progress: Any) -> Report:
    from ckpt2saved.verification.accuracy.evaluation import evaluate
    from ckpt2saved.verification.accuracy.report import report_on

    return report_on(evaluate(model, options, progress))


def _of_pages(model: Any, options: Any, progress: Any) -> Report:
    from ckpt2saved.verification.accuracy.page_evaluation import evaluate_pages
    from ckpt2saved.verification.accuracy.page_report import report_on_pages

    return report_on_pages(evaluate_pages(model, options, progress))
