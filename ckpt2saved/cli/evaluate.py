"""The command `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional, Union

import click

from ckpt2saved.cli.accuracy_options import accuracy_options, lines_option, pages_option
from ckpt2saved.cli.help import Purpose, Topic
from ckpt2saved.cli.invocation import command, narration, prepare_tensorflow, print_json, printed, reported
from ckpt2saved.cli.model_place import place_argument, place_options
from ckpt2saved.cli.options import PathType, called, gpu_option, json_option, option, quiet_option, report_option

if TYPE_CHECKING:  # slow to import
    from ckpt2saved.client.address import ModelAddress


@command(
    "evaluate",
    Purpose.CHECKS,
    {
        Topic.LABELS: ["models/crnn/3 --lines lines.tsv --max-cer 0.05"],
        Topic.LOADER: ["models/crnn --lines lines.tsv --gpu"],
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
@gpu_option(Topic.LOADER)
@place_options
@report_option
@json_option
@quiet_option
def evaluate(
    place: Union[Path, ModelAddress], report: Optional[Path], as_json: bool, quiet: bool, **options: Any
) -> None:
    """Measure how much of the text of labelled pictures a version reads: character and word error rate.

    With --lines, pictures of one line each; with --pages, pages, of which it also counts the lines that are found.

    VERSION_DIR is a version, BASE a base directory (its newest complete version), URL the address of a model on a
    server: http://HOST:8501/v1/models/NAME, with /versions/N for one version, or the same with grpc://. No TensorFlow
    is needed for a server.
    """
    import ckpt2saved

    prepare_tensorflow(options["gpu"])
    with reported(report, "evaluate") as record:
        with narration("evaluate", quiet=quiet, on_step=record.add) as say:
            found = called(ckpt2saved.evaluate, place, progress=say, **options)
        record.add("accuracy", found.report.summary)
        record.details = found.report.as_markdown()
        with printed(""):
            if as_json:
                print_json(found.as_content())
            else:
                found.report.print()
        found.raise_if_worse()
        record.outcome = f"`{found.model}`: {found.report.summary}"
