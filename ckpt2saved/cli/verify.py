"""The command `verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Optional, Sequence, Tuple

import click

from ckpt2saved.cli.graph_options import graph_options, read_graph_options, read_search_limits, search_options
from ckpt2saved.cli.help import Purpose, Topic
from ckpt2saved.cli.invocation import command, narration, prepare_tensorflow, print_json, printed, reported
from ckpt2saved.cli.live import probing, server_at, target_on
from ckpt2saved.cli.options import (
    PathType,
    address_type,
    batched_option,
    is_on_command_line,
    json_option,
    model_name_option,
    option,
    probe_signature_option,
    quiet_option,
    report_option,
    timeout_option,
)

if TYPE_CHECKING:  # slow to import
    from ckpt2saved.client.address import Address


@command(
    "verify",
    Purpose.CHECKS,
    {
        Topic.SOURCE: ["models/own/3 --checkpoint runs/own --graph meta"],
        Topic.SIGNATURE: ["models/own/3 --checkpoint runs/own --model signatures/own.yaml"],
        Topic.DECODER: ["models/crnn/3 --checkpoint runs/crnn --ctc-decoder greedy"],
        Topic.PROOF: ["models/crnn/3 --inputs requests.npz"],
        Topic.SERVER: ["models/crnn/3 --server http://localhost:8501 --model-name crnn"],
        None: ["models/crnn", "models/crnn/3 --checkpoint runs/crnn/ --server grpc://localhost:8500"],
    },
)
@click.argument("version_dir", type=PathType())
@option(
    "--checkpoint",
    "-c",
    "checkpoints",
    type=PathType(),
    multiple=True,
    metavar="[NAME=]PATH",
    help=(
        "Compare the answers with those of this checkpoint; the model ocr takes two, as export does. Default model: the"
        " one recorded in the version; the options below override it."
    ),
    topic=Topic.SOURCE,
)
@option(
    "--server",
    type=address_type,
    metavar="URL",
    help="Check that this TF Serving serves the version and answers the same: http://host:8501 or grpc://host:8500.",
    topic=Topic.SERVER,
)
@model_name_option
@probe_signature_option
@batched_option
@timeout_option
@option(
    "--inputs",
    "request_file",
    type=PathType(),
    metavar="FILE.npz",
    help="Requests to send: arrays named as the inputs.",
    topic=Topic.PROOF,
)
@graph_options
@search_options
@report_option
@json_option
@quiet_option
def verify(
    version_dir: Path,
    checkpoints: Tuple[Path, ...],
    server: Optional[Address],
    model_name: Optional[str],
    timeout: float,
    request_file: Optional[Path],
    report: Optional[Path],
    as_json: bool,
    quiet: bool,
    **more: Any,
) -> None:
    """Check that a version can be served, that its answers are right, and that a server answers the same.

    VERSION_DIR is a version, or a base directory (its newest version). The files are checked and loaded with the loader
    that TF Serving uses, and every signature is run twice. The version's directory is printed on stdout.
    """
    from ckpt2saved.versions import find_version

    with reported(report, "verify") as record:
        directory = find_version(version_dir)
        connected = server_at(server)
        names, batched = more.pop("probe_signatures"), more.pop("batched")
        asked = _probing(directory, names, batched) if connected else None
        target = target_on(connected, model_name, directory, timeout, asked) if connected else None
        planned = _comparison(directory, checkpoints, more)
        with narration("verify", quiet=quiet, on_step=record.add) as say:
            say.begin("starting TensorFlow")
            prepare_tensorflow(gpu=False)
            from ckpt2saved.verification.steps import as_content, verify_version

            found = verify_version(directory, plan=planned, inputs=request_file, target=target, say=say)
        if as_json:
            with printed(f"{directory} has problems" if found.problems else ""):
                print_json(as_content(found))
        found.raise_if_wrong()
        record.outcome = f"`{directory}` passed all checks"
        if not as_json:
            click.echo(str(directory))


def _probing(directory: Path, signatures: Sequence[str], batched: Optional[bool]) -> Any:
    from ckpt2saved.requests.gathering import served_signatures
    from ckpt2saved.saved_model.reading import SavedModelFile

    return probing(signatures, batched, served_signatures(SavedModelFile(directory)) if signatures else ())


def _comparison(directory: Path, checkpoints: Tuple[Path, ...], options: Dict[str, Any]) -> Any:
    """The ComparisonPlan for the options; None without a checkpoint or weights."""
    from ckpt2saved.sources.registry import holds_weights

    if not checkpoints and not holds_weights(options["graph"]):
        stray = [name for name in options if is_on_command_line(name)]
        if stray:
            option_of = {parameter.name: parameter.opts[0] for parameter in verify.params}
            raise click.UsageError(f"{', '.join(option_of[name] for name in stray)}: only with --checkpoint")
        return None
    from ckpt2saved.sources.graph_plan import plan_graph
    from ckpt2saved.verification.comparison import ComparisonPlan
    from ckpt2saved.verification.recorded import with_recorded

    graph = with_recorded(read_graph_options(options, checkpoints), directory)
    return ComparisonPlan(plan_graph(graph), read_search_limits(options))
