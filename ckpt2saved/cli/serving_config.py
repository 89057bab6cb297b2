"""The command `serving-config`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Optional, Sequence

import click

from ckpt2saved.cli.help import Purpose, Topic
from ckpt2saved.cli.invocation import command, narration, print_json, printed
from ckpt2saved.cli.options import (
    ParsedType,
    PathType,
    SecondsType,
    is_on_command_line,
    json_option,
    option,
    quiet_option,
)


@command(
    "serving-config",
    Purpose.FIRST,
    {
        Topic.MODELS: ["models/crnn models/ctpn -o serving --versions crnn=latest:2 --label crnn:stable=3"],
        Topic.BATCHING: ["models/crnn -o serving --batching --max-batch-size 16 --batched-signature dense"],
        Topic.SPEED: ["models/crnn -o serving --tune served.json --goal latency"],
        Topic.START: ["models/crnn -o serving --for compose --for 2.19 --cpus 4"],
        Topic.OUTPUT: ["models/crnn -o serving --dry-run"],
        None: [
            "models/crnn models/ctpn --output-dir serving",
            "models/crnn -o serving --for kubernetes --volume-claim models",
            "--from s3://bucket/models/crnn -o serving --for kubernetes",
        ],
    },
)
@click.argument("models", nargs=-1, metavar="[NAME=]MODEL_DIR...")
@option(
    "--from",
    "sources",
    type=ParsedType("[name=]url", "server_config.pulling:parse_source"),
    multiple=True,
    help=(
        "In place of MODEL_DIR: object store from which a side-car (ckpt2saved sync) pulls the versions of a model, "
        "for example s3://bucket/models/crnn. May be given several times."
    ),
    topic=Topic.MODELS,
)
@option(
    "--sync-image",
    default="ckpt2saved:sync",
    show_default=True,
    metavar="IMAGE",
    help="With --from: image of ckpt2saved for the side-car.",
    topic=Topic.START,
)
@option(
    "--output-dir",
    "-o",
    required=True,
    type=PathType(),
    help="Directory to write the configuration to.",
    topic=Topic.OUTPUT,
)
@option(
    "--for",
    "targets",
    type=ParsedType("docker|compose|kubernetes|kserve|version", "server_config.configuration:parse_target"),
    multiple=True,
    metavar="docker|compose|kubernetes|kserve|VERSION",
    help=(
        "What starts the server, and its TF Serving release, for example --for compose --for 1.14. May be given several"
        " times. Default: docker."
    ),
    topic=Topic.START,
)
@option(
    "--serving",
    metavar="VERSION",
    help="TF Serving release, 1.14 or later; same as --for VERSION. Default: 2.19.",
    topic=Topic.START,
)
@option(
    "--mount",
    "mounts",
    type=ParsedType("host=server", "server_config.mounts:parse_mount"),
    multiple=True,
    help=(
        "Directory on this machine and its path in the server, for example ./models=/models. May be given several "
        "times. Default: one mount for each model."
    ),
    topic=Topic.MODELS,
)
@option(
    "--versions",
    "policies",
    type=ParsedType("[model=]policy", "server_config.policy:parse_policy"),
    multiple=True,
    help=(
        "Versions that the server loads: latest, latest:2, all or specific:3,4. May be given several times. Default: "
        "latest."
    ),
    topic=Topic.MODELS,
)
@option(
    "--label",
    "labels",
    type=ParsedType("[model:]label=n", "server_config.policy:parse_label"),
    multiple=True,
    help="Version label, by which clients can name a version. May be given several times.",
    topic=Topic.MODELS,
)
@option(
    "--batching/--no-batching",
    "batching",
    default=None,
    help="Enable batching of requests in the server. Default: no, unless --tune shows that it is worth it.",
    topic=Topic.BATCHING,
)
@option(
    "--max-batch-size",
    type=click.IntRange(min=1),
    help="With --batching: largest batch, and largest request; the server refuses larger requests. Default: 32.",
    topic=Topic.BATCHING,
)
@option(
    "--batch-timeout-micros",
    type=click.IntRange(min=0),
    help="With --batching: time that the server waits for a batch to fill. Default: 5000.",
    topic=Topic.BATCHING,
)
@option(
    "--batch-threads",
    type=click.IntRange(min=1),
    help="With --batching: batches that run at the same time. Default: as many as CPUs.",
    topic=Topic.BATCHING,
)
@option(
    "--allowed-batch-sizes",
    type=ParsedType("sizes", "server_config.tuning:parse_sizes"),
    metavar="1,8,32",
    help="With --batching: sizes that batches are filled up to, the last one the largest batch. Default: any size.",
    topic=Topic.BATCHING,
)
@option(
    "--batching-per-model",
    is_flag=True,
    help=(
        "With --batching, for TF Serving 2.11 and later: batch only versions with parameters of their own, which "
        "bump-version --batching-params writes."
    ),
    topic=Topic.BATCHING,
)
@option(
    "--equal-shapes",
    is_flag=True,
    help=(
        "With --batching: clients send all requests in the same shape (batch dimension aside), also where a signature "
        "leaves dimensions open."
    ),
    topic=Topic.BATCHING,
)
@option(
    "--pad-inputs",
    is_flag=True,
    help=(
        "With --batching: the server pads requests of different shapes with their first element, which can change "
        "answers."
    ),
    topic=Topic.BATCHING,
)
@option(
    "--batched-signature",
    "batched_signatures",
    multiple=True,
    metavar="NAME",
    help="With --batching: signature that clients use. May be given several times. Default: serving_default.",
    topic=Topic.BATCHING,
)
@option(
    "--tune",
    type=PathType(),
    metavar="FILE",
    help=(
        "Choose threads, oneDNN and batching by the measurements in this file, the output of bench served --json. The "
        "options below override them."
    ),
    topic=Topic.SPEED,
)
@option(
    "--goal",
    type=click.Choice(["throughput", "latency"]),
    default="throughput",
    show_default=True,
    help="With --tune: the most lines a second, or the lowest p99.",
    topic=Topic.SPEED,
)
@option(
    "--max-p99",
    type=SecondsType(),
    metavar="SECONDS",
    help="With --tune: count only loads with at most this p99.",
    topic=Topic.SPEED,
)
@option("--intra-op", type=click.IntRange(min=1), help="Threads for one op. Default: --cpus.", topic=Topic.SPEED)
@option("--inter-op", type=click.IntRange(min=1), help="Ops that run at once. Default: --cpus.", topic=Topic.SPEED)
@option(
    "--onednn",
    type=click.Choice(["on", "off"]),
    help="Whether TensorFlow computes in oneDNN, for TF Serving 2.5 and later. Default: off.",
    topic=Topic.SPEED,
)
@option(
    "--mixed-precision",
    type=click.Choice(["bfloat16"]),
    help="Compute products in bfloat16, for TF Serving 2.15 and later on CPUs that have it. Needs --accuracy.",
    topic=Topic.SPEED,
)
@option(
    "--accuracy",
    type=PathType(),
    metavar="FILE",
    help="With --mixed-precision: output of evaluate URL --not-worse-than MODEL_DIR --json, of a server with it.",
    topic=Topic.SPEED,
)
@option(
    "--gpus",
    type=ParsedType("gpus", "server_config.devices:parse_gpus"),
    metavar="all|N|device=0,1",
    help="GPUs of the server, as --gpus of docker run; selects the GPU image.",
    topic=Topic.START,
)
@option(
    "--nvidia-runtime",
    is_flag=True,
    help="With --gpus: use the nvidia runtime, for Docker before 19.03.",
    topic=Topic.START,
)
@option(
    "--cpus",
    type=ParsedType("number", "server_config.server:parse_cpus"),
    help="Number of CPUs that the server may use. Default: no limit, and threads for the CPUs of this machine.",
    topic=Topic.START,
)
@option("--port", type=click.IntRange(1, 65535), default=8500, show_default=True, help="gRPC port.", topic=Topic.START)
@option(
    "--rest-port",
    type=click.IntRange(1, 65535),
    default=8501,
    show_default=True,
    help="Port of REST and metrics.",
    topic=Topic.START,
)
@option(
    "--name",
    type=ParsedType("name", "server_config.server:parse_name"),
    default="tensorflow-serving",
    show_default=True,
    help="Name of the container, service or deployment.",
    topic=Topic.START,
)
@option(
    "--volume-claim",
    type=ParsedType("claim", "server_config.kubernetes:parse_claim"),
    help="With --for kubernetes: PersistentVolumeClaim that holds the models. Default: a directory of the node.",
    topic=Topic.START,
)
@option(
    "--restart",
    is_flag=True,
    help="The server will be restarted with the files: also write changes that a running server refuses.",
    topic=Topic.START,
)
@option("--run", "start", is_flag=True, help="Start the server with docker after writing.", topic=Topic.START)
@option(
    "--dry-run",
    is_flag=True,
    help="Print what would be written and what a running server would do.",
    topic=Topic.OUTPUT,
)
@json_option
@quiet_option
def serving_config(
    models: Sequence[str],
    output_dir: Path,
    targets: Sequence[str],
    serving: Optional[str],
    start: bool,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Write the configuration files with which TF Serving serves models, and print the command that starts it.

    What a running server will do with the change is printed on stderr. A model without a complete version is refused,
    and so is batching that would break answers.
    """
    if bool(models) == bool(options["sources"]):
        found = "both" if models else "neither"
        raise click.UsageError(
            f"Missing argument '[NAME=]MODEL_DIR...' or option '--from': expected one; found {found}"
        )
    if start and dry_run:
        raise click.UsageError("--run: not with --dry-run")
    from ckpt2saved.server_config.configuration import ConfigurationOptions, configure, split_targets
    from ckpt2saved.server_config.page import as_content, narrate

    starters, release = split_targets(targets, serving)
    _check_serving_options(starters, start, options)
    speed = _speed(options)
    options["restart"] = options["restart"] or start
    planned = configure(models, ConfigurationOptions(output_dir, starters, release, speed=speed, **options))
    if start:
        from ckpt2saved.server_config.docker import find_docker

        find_docker()  # fail before writing anything
    if not dry_run:
        planned.write()
    with narration("serving-config", quiet=quiet) as say:
        narrate(planned, say, dry_run)
    container = None
    if start:
        from ckpt2saved.server_config.docker import run

        container = run(planned.docker_command)
    with printed(f"the server is started, container {container}" if container else ""):
        if as_json:
            print_json(dict(as_content(planned), dry_run=dry_run, container=container))
        for line in () if as_json else planned.start.values():
            click.echo(line)


_BATCHING_FIELDS = {  # option -> field of Batching
    "max_batch_size": "max_batch_size",
    "batch_timeout_micros": "timeout_micros",
    "batch_threads": "threads",
    "allowed_batch_sizes": "allowed_batch_sizes",
    "pad_inputs": "pad_inputs",
    "equal_shapes": "equal_shapes",
}


def _check_serving_options(starters: Any, start: bool, options: Dict[str, Any]) -> None:
    if options["sources"] and options["volume_claim"]:
        raise click.UsageError("--volume-claim: not with --from, whose versions lie in a directory of the pod")
    if not options["sources"] and is_on_command_line("sync_image"):
        raise click.UsageError("--sync-image: only with --from")
    if start and "docker" not in starters:
        raise click.UsageError("--run: starts docker; add --for docker")
    if options["nvidia_runtime"] and not options["gpus"]:
        raise click.UsageError("--nvidia-runtime: only with --gpus")
    if options["volume_claim"] and "kubernetes" not in starters:
        raise click.UsageError("--volume-claim: only with --for kubernetes")
    if options["port"] == options["rest_port"]:
        raise click.UsageError("--rest-port: must differ from --port")


def _speed(options: Dict[str, Any]) -> Any:
    """Remove the options of speed and batching from `options`; returns SpeedOptions."""
    from ckpt2saved.server_config.tuning import SpeedOptions

    values = {field: options.pop(name) for name, field in _BATCHING_FIELDS.items()}
    if values["pad_inputs"] and values["equal_shapes"]:
        raise click.UsageError("--equal-shapes: not with --pad-inputs, which is for requests of different sizes")
    given = {field: value for field, value in values.items() if value is not None and value is not False}
    onednn, tune = options.pop("onednn"), options.pop("tune")
    stray = [name for name, field in _BATCHING_FIELDS.items() if field in given]
    stray += ["batched_signature"] if options["batched_signatures"] else []
    batching, per_model = options.pop("batching"), options.pop("batching_per_model")
    stray += ["batching_per_model"] if per_model else []
    if stray and (batching is False or not (batching or tune)):
        raise click.UsageError(f"--{stray[0].replace('_', '-')}: only with --batching")
    if options["accuracy"] is not None and options["mixed_precision"] is None and is_on_command_line("accuracy"):
        raise click.UsageError("--accuracy: only with --mixed-precision")
    for name in ("goal", "max_p99"):
        if tune is None and is_on_command_line(name):
            raise click.UsageError(f"--{name.replace('_', '-')}: only with --tune")
    return SpeedOptions(
        intra_op=options.pop("intra_op"),
        inter_op=options.pop("inter_op"),
        onednn=None if onednn is None else onednn == "on",
        mixed_precision=options.pop("mixed_precision"),
        accuracy=options.pop("accuracy"),
        batching=batching,
        batching_per_model=per_model,
        batching_values=given,
        tune=tune,
        goal=options.pop("goal"),
        max_p99=options.pop("max_p99"),
    )
