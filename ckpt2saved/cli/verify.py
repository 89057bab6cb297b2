"""The command `verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional, Union

import click

from ckpt2saved.cli.graph_options import graph_options, search_options
from ckpt2saved.cli.help import Purpose, Topic
from ckpt2saved.cli.invocation import command, narration, prepare_tensorflow, print_json, printed, reported
from ckpt2saved.cli.options import (
    PathType,
    PlaceType,
    address_type,
    batched_option,
    called,
    for_device_option,
    gpu_option,
    json_option,
    model_name_option,
    option,
    probe_signature_option,
    quiet_option,
    report_option,
    timeout_option,
)


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
@click.argument("version_dir", type=PlaceType())
@option(
    "--checkpoint",
    "-c",
    "checkpoint",
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
@option(
    "--with-onednn/--without-onednn",
    default=True,
    help=(
        "Also run the requests with oneDNN on, as stock images of TF Serving from 2.9 on do, in a process of its own. "
        "Default: yes, where TensorFlow has it."
    ),
    topic=Topic.PROOF,
)
@graph_options
@search_options
@for_device_option
@gpu_option(Topic.PROOF)
@report_option
@json_option
@quiet_option
def verify(version_dir: Union[Path, str], report: Optional[Path], as_json: bool, quiet: bool, **options: Any) -> None:
    """Check that a version can be served, that its answers are right, and that a server answers the same.

    VERSION_DIR is a version, or a base directory (its newest version). The files are checked and loaded with the loader
    that TF Serving uses, and every signature is run twice. The version's directory is printed on stdout.
    """
    import ckpt2saved

    options.update(options=dict(options["options"]), pinned=dict(options["pinned"]))
    prepare_tensorflow(options["gpu"], compares=True)
    with reported(report, "verify") as record:
        with narration("verify", quiet=quiet, on_step=record.add) as say:
            found = called(ckpt2saved.verify, version_dir, progress=say, **options)
        if as_json:
            from ckpt2saved.verification.steps import as_content

            with printed(f"{found.path} has problems" if found.problems else ""):
                print_json(as_content(found))
        found.raise_if_wrong()
        record.outcome = f"`{found.path}` passed all checks"
        if not as_json:
            click.echo(str(found.path))
