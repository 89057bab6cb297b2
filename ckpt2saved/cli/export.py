"""The command `export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Optional, Sequence, Tuple, Union

import click

from ckpt2saved.cli.export_options import export_options
from ckpt2saved.cli.help import Purpose, Topic
from ckpt2saved.cli.invocation import (
    command,
    narration,
    prepare_tensorflow,
    print_json,
    rare_collections,
    reported,
)
from ckpt2saved.cli.live import Published, publishing
from ckpt2saved.cli.options import (
    PathType,
    called,
    json_option,
    option,
    quiet_option,
    refuse_wait_in_dry_run,
    report_option,
    single_writer_option,
    version_option,
)

if TYPE_CHECKING:  # slow to import
    from ckpt2saved.console.report import Record
    from ckpt2saved.errors import NotAccurate
    from ckpt2saved.exporting.accuracy import Measured
    from ckpt2saved.exporting.selection import Candidate


@command(
    "export",
    Purpose.FIRST,
    {
        Topic.SOURCE: [
            "--checkpoint runs/crnn/ --graph meta --input images=images --output logits=logits -o models/own"
        ],
        Topic.SIGNATURE: ["--model signatures/own.yaml --option charset=charset.txt -c runs/own -o models/own"],
        Topic.DECODER: ["-c runs/crnn --input images=images --decode logits --beam-width 10 -o models/crnn"],
        Topic.PROOF: ["--model crnn -c runs/crnn -o models/crnn --parity-seconds 300 --for-serving 1.14"],
        Topic.LABELS: [
            "--model crnn --option charset=charset.txt -c runs/crnn -o models/crnn --lines lines.tsv --max-cer 0.05"
        ],
        Topic.WARM_UP: ["--model crnn -c runs/crnn -o models/crnn --warmup 3 --warmup-signature dense"],
        Topic.PUBLISHING: ["--model crnn -c runs/crnn/model.ckpt-300 -o models/crnn --version 100001"],
        Topic.SERVER: ["--model crnn -c runs/crnn -o models/crnn --wait-for http://localhost:8501"],
        Topic.OUTPUT: ["--model crnn -c runs/crnn -o models/crnn --quiet --json --report $GITHUB_STEP_SUMMARY"],
        None: ["--model crnn --checkpoint runs/crnn/ --export-dir models/crnn"],
    },
)
@option(
    "--checkpoint",
    "--checkpoint-path",
    "--input-checkpoint",
    "-c",
    "checkpoint",
    type=PathType(),
    multiple=True,
    metavar="[NAME=]PATH",
    help=(
        "Checkpoint to export: a prefix, one of its files, or the training directory (its newest checkpoint). The model"
        " ocr takes two: detector=PATH and recogniser=PATH."
    ),
    topic=Topic.SOURCE,
)
@export_options
@version_option
@option(
    "--select",
    type=click.Choice(["best"]),
    help="Try every checkpoint of the directory --checkpoint with --lines, and publish the best one.",
    topic=Topic.LABELS,
)
@option(
    "--unless-published",
    is_flag=True,
    help="Publish nothing, with exit code 1, if a version of the base directory has or had this checkpoint.",
    topic=Topic.PUBLISHING,
)
@option(
    "--skip-unchanged",
    is_flag=True,
    help="Publish nothing, with exit code 0, if the newest version has the same files; its directory is printed.",
    topic=Topic.PUBLISHING,
)
@single_writer_option
@option("--dry-run", is_flag=True, help="Export and check, but do not publish.", topic=Topic.PUBLISHING)
@report_option
@json_option
@quiet_option
def export(
    checkpoint: Tuple[Path, ...],
    export_dir: Union[Path, str],
    report: Optional[Path],
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Publish a checkpoint as the next version of a model.

    The published directory is printed on stdout, with --wait-for before the wait starts. With --lines the staged files
    read labelled pictures first, and nothing is published if --max-cer or --not-worse-than is not met.
    """
    import ckpt2saved
    from ckpt2saved.errors import NotAccurate

    refuse_wait_in_dry_run()
    options.update(options=dict(options["options"]), pinned=dict(options["pinned"]))
    prepare_tensorflow(options["gpu"], compares=True)
    with reported(report, "export") as record:
        with narration("export", quiet=quiet, on_step=record.add) as say, rare_collections():
            progress = Published(say, record, as_json)
            with publishing(progress, options["wait_for"], as_json):
                try:
                    version = called(ckpt2saved.export, checkpoint, export_dir, progress=progress, **options)
                except NotAccurate as error:
                    _report_accuracy(record, error.result, error.candidates)
                    if as_json and error.result is not None:
                        print_json(_refused_content(error, options["dry_run"]))
                    raise
        _report_accuracy(record, version.measured, version.candidates)
        progress.finish(version)


def _refused_content(error: NotAccurate, dry_run: bool) -> Dict[str, Any]:
    """The content of --json for a checkpoint whose text is not good enough."""
    from ckpt2saved.errors.problem import error_content
    from ckpt2saved.exporting.exported import selection_content

    accuracy = error.result.as_content()
    selection = selection_content(error.candidates) if error.candidates else {}
    return {**error_content(error), "path": None, "dry_run": dry_run, "accuracy": accuracy, **selection}


def _report_accuracy(record: Record, measured: Optional[Measured], candidates: Sequence[Candidate]) -> None:
    """Add the tables of the accuracy to the report."""
    if candidates:
        from ckpt2saved.console.report import markdown_table
        from ckpt2saved.exporting.selection import candidate_table

        record.details += markdown_table(*candidate_table(candidates)) + "\n"
    if measured is not None:
        from ckpt2saved.verification.accuracy.report import as_markdown

        record.details += as_markdown(measured.evaluated.accuracy)
