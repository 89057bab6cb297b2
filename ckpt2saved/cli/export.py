"""The command `export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Optional

import click

from ckpt2saved.cli.accuracy_options import gate_options, read_gate
from ckpt2saved.cli.graph_options import graph_options, read_graph_options, read_search_limits, search_options
from ckpt2saved.cli.help import Purpose, Topic
from ckpt2saved.cli.invocation import (
    UntilInterrupted,
    command,
    failed_content,
    narration,
    prepare_tensorflow,
    print_json,
    print_result,
    rare_collections,
    reported,
)
from ckpt2saved.cli.live import await_version, probing, server_at, target_on
from ckpt2saved.cli.options import (
    PathType,
    batched_option,
    json_option,
    model_name_option,
    option,
    probe_signature_option,
    quiet_option,
    report_option,
    timeout_option,
    version_option,
    wait_option,
)

if TYPE_CHECKING:  # slow to import
    from ckpt2saved.client.address import Address


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
    "checkpoints",
    type=PathType(),
    multiple=True,
    metavar="[NAME=]PATH",
    help=(
        "Checkpoint to export: a prefix, one of its files, or the training directory (its newest checkpoint). The model"
        " ocr takes two: detector=PATH and recogniser=PATH."
    ),
    topic=Topic.SOURCE,
)
@option(
    "--export-dir",
    "--output-dir",
    "-o",
    "export_dir",
    required=True,
    type=PathType(),
    help="Base directory of the model, in which the numbered versions are published.",
    topic=Topic.PUBLISHING,
)
@version_option
@graph_options
@option(
    "--parity/--no-parity",
    default=True,
    show_default=True,
    help="Compare the answers of the staged files with those of the checkpoint before publishing.",
    topic=Topic.PROOF,
)
@search_options
@option(
    "--warmup",
    multiple=True,
    metavar="N|FILE.npz|IMAGE",
    help=(
        "Warm-up requests, which the server answers before it serves the version: N random requests for each "
        "signature, a file of arrays named as the inputs, or an image. May be given several times. Default: 1."
    ),
    topic=Topic.WARM_UP,
)
@option(
    "--warmup-signature",
    "warmup_signatures",
    multiple=True,
    metavar="NAME",
    help=(
        "Write the warm-up requests for this signature. May be given several times. A server with --enable_batching "
        "fails to load the version if the signature cannot be used with batching. Default: requests that every server "
        "answers."
    ),
    topic=Topic.WARM_UP,
)
@option("--no-warmup", is_flag=True, help="Write no warm-up requests.", topic=Topic.WARM_UP)
@option(
    "--for-serving",
    metavar="VERSION",
    help="Refuse ops and attributes that this TF Serving release does not have, for example 1.14.",
    topic=Topic.PROOF,
)
@option("--no-fold", is_flag=True, help="Do not fold batch norm into the convolution before it.", topic=Topic.DECODER)
@option(
    "--gpu", is_flag=True, help="Use the GPUs. Default: CPU only, as a training may be using them.", topic=Topic.PROOF
)
@gate_options
@option(
    "--select",
    type=click.Choice(["best"]),
    help="Try every checkpoint of the directory --checkpoint with --lines, and publish the best one.",
    topic=Topic.LABELS,
)
@wait_option
@timeout_option
@model_name_option
@probe_signature_option
@batched_option
@option("--dry-run", is_flag=True, help="Export and check, but do not publish.", topic=Topic.PUBLISHING)
@report_option
@json_option
@quiet_option
def export(
    export_dir: Path,
    gpu: bool,
    wait_for: Optional[Address],
    timeout: float,
    model_name: Optional[str],
    report: Optional[Path],
    as_json: bool,
    quiet: bool,
    select: Optional[str],
    **options: Any,
) -> None:
    """Publish a checkpoint as the next version of a model.

    The published directory is printed on stdout, with --wait-for before the wait starts. With --lines the staged files
    read labelled pictures first, and nothing is published if --max-cer or --not-worse-than is not met.
    """
    from ckpt2saved.answers.worker import kept_processes
    from ckpt2saved.errors import NotAccurate
    from ckpt2saved.exporting.plan import ExportOptions, plan_export

    with reported(report, "export") as record:
        names, batched = options.pop("probe_signatures"), options.pop("batched")
        graph = read_graph_options(options, options.pop("checkpoints"))
        limits = read_search_limits(options)
        server = server_at(wait_for, options["dry_run"], other=options["server"])
        gate = read_gate(options, export_dir, wait_for, model_name)
        more: Dict[str, Any] = {}
        export_options = ExportOptions(graph=graph, base=export_dir, search_limits=limits, accuracy=gate, **options)
        with narration("export", quiet=quiet, on_step=record.add) as say, rare_collections(), kept_processes():
            if select:
                prepare_tensorflow(gpu)
                export_options = _with_best(export_options, say, record, more)
            plan = plan_export(export_options)
            asked = probing(names, batched, [s.name for s in plan.graph.model.signatures]) if server else None
            say.begin("starting TensorFlow")
            prepare_tensorflow(gpu)
            from ckpt2saved.exporting.pipeline import export_checkpoint

            try:
                exported = export_checkpoint(plan, UntilInterrupted(say))
            except NotAccurate as error:
                _report_measured(error.result, record)
                if as_json and error.result is not None:
                    accuracy = error.result.as_content()
                    failed = {**failed_content(error), "path": None, "dry_run": export_options.dry_run}
                    print_json({**failed, "accuracy": accuracy, **more})
                raise
        record.outcome = ("would publish `{}`" if exported.dry_run else "published `{}`").format(exported.path)
        record.is_done = not exported.dry_run
        content = {"path": str(exported.path), "dry_run": exported.dry_run, **exported.provenance, **more}
        if exported.measured:
            _report_measured(exported.measured, record)
            content["accuracy"] = exported.measured.as_content()
        if server is None:
            print_result(content, exported.path, as_json)
        else:
            target = target_on(server, model_name, exported.path, timeout, asked)
            await_version(target, content, as_json, quiet, record, known=exported.asked)


def _with_best(options: Any, say: Any, record: Any, content: Dict[str, Any]) -> Any:
    """The options for the best checkpoint of the directory; the candidates are added to `content` and the report."""
    from dataclasses import replace

    from ckpt2saved.console.report import markdown_table
    from ckpt2saved.exporting.selection import best_of, candidate_table, try_all

    candidates = try_all(options, UntilInterrupted(say))
    best = best_of(candidates)
    say.table(*candidate_table(candidates, best))
    record.details += markdown_table(*candidate_table(candidates, best)) + "\n"
    say("selected", str(best.prefix))
    content.update(candidates=[one.as_content() for one in candidates], selected=str(best.prefix))
    return replace(options, graph=replace(options.graph, checkpoints=(best.prefix,)))


def _report_measured(measured: Any, record: Any) -> None:
    """Add the tables of the accuracy to the report."""
    if measured is not None:
        from ckpt2saved.verification.accuracy.report import as_markdown

        record.details += as_markdown(measured.evaluated.accuracy)
