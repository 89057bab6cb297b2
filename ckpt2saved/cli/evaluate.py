"""The command `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional, Union

import click

from ckpt2saved.cli.accuracy_options import accuracy_options, lines_option, read_evaluation
from ckpt2saved.cli.invocation import command, narration, print_json, printed, reported
from ckpt2saved.cli.model_place import place_argument, place_options, read_model
from ckpt2saved.cli.options import PathType, json_option, option, quiet_option, report_option

if TYPE_CHECKING:  # slow to import
    from ckpt2saved.client.address import ModelAddress


@command("evaluate")
@place_argument
@lines_option(required=True)
@option(
    "--signature",
    metavar="NAME",
    help="Signature that reads text from pictures. Default: text, or the only one that does.",
)
@accuracy_options
@option(
    "--worst",
    type=PathType(),
    metavar="FILE.png",
    help="Draw the lines that are read worst: picture, reference and answer. Needs Pillow.",
)
@option(
    "--worst-count",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    metavar="N",
    help="Number of lines for --worst.",
)
@option(
    "--font",
    type=PathType(),
    metavar="FILE.ttf",
    help="Font for the texts of --worst. Default: DejaVu Sans if matplotlib or the system has it.",
)
@place_options
@report_option
@json_option
@quiet_option
def evaluate(
    place: Union[Path, ModelAddress],
    lines: Path,
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

    VERSION_DIR is a version, BASE a base directory (its newest complete version), URL the address of a model on a
    server: http://HOST:8501/v1/models/NAME, with /versions/N for one version, or the same with grpc://. No TensorFlow
    is needed for a server.
    """
    from ckpt2saved.verify.accuracy.evaluation import evaluate as run
    from ckpt2saved.verify.accuracy.gate import Limits, judge
    from ckpt2saved.verify.accuracy.report import as_content, as_markdown, print_accuracy, summary

    with reported(report, "evaluate") as record:
        if worst is not None:
            from ckpt2saved.console.drawing import check_picture_file

            check_picture_file(worst, "--worst")
        options = read_evaluation(lines, signature, more)
        with narration("evaluate", quiet=quiet, on_step=record.add) as say:
            model = read_model(place, more, say)
            where = model.name
            evaluated = run(model, options, say.progress)
            say("evaluated", f"{where}, signature {evaluated.signature}, {lines}")
        accuracy = evaluated.accuracy
        record.add("accuracy", summary(accuracy))
        record.details = as_markdown(accuracy)
        verdict = judge(accuracy, Limits(max_cer))
        if worst is not None:
            from ckpt2saved.verify.accuracy.worst_picture import draw_worst

            draw_worst(accuracy.worst[:worst_count], worst, font)
        with printed(""):
            if as_json:
                labels = {"path": str(lines), "sha256": options.labels.sha256}
                content = {"model": where, "labels": labels, **as_content(evaluated), **verdict.as_content()}
                print_json(content)
            else:
                print_accuracy(accuracy)
        verdict.raise_if_worse(where, "")
        record.outcome = f"`{where}`: {summary(accuracy)}"
