"""The command `bench served`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional, Sequence, Union

import click

from ckpt2saved.cli.bench import bench
from ckpt2saved.cli.help import Topic
from ckpt2saved.cli.invocation import SETTINGS, Command, narration, prepare_tensorflow, print_json
from ckpt2saved.cli.model_place import name_option
from ckpt2saved.cli.options import (
    ParsedType,
    PathType,
    SecondsType,
    gpu_option,
    json_option,
    option,
    place_type,
    quiet_option,
)

if TYPE_CHECKING:  # slow to import
    from ckpt2saved.client.address import ModelAddress

__all__ = ["bench"]


@bench.command(
    "served",
    cls=Command,
    context_settings=SETTINGS,
    examples={
        Topic.REQUESTS: ["http://localhost:8501/v1/models/crnn --requests lines/"],
        Topic.LOAD: ["grpc://localhost:8500/v1/models/crnn --rate 5,10,20 --batch 4"],
        Topic.LOADER: ["models/crnn/3 --profile --onednn both"],
        Topic.OUTPUT: ["http://localhost:8501/v1/models/crnn --plot crnn.png --json > served.json"],
        None: [
            "http://localhost:8501/v1/models/crnn --widths 40-400 --concurrency 1,8",
            "models/crnn/3 models/crnn/4",
        ],
    },
)
@click.argument("places", nargs=-1, required=True, type=place_type, metavar="URL|VERSION_DIR|BASE...")
@option(
    "--signature",
    metavar="NAME",
    help="Signature to send requests to. Default: text, or serving_default, or the only one.",
    topic=Topic.REQUESTS,
)
@option(
    "--requests",
    "files",
    multiple=True,
    type=PathType(),
    metavar="FILE|DIR",
    help=(
        "Pictures to send, a directory of them, or arrays in .npz or .npy files. If the signature takes pixels, the "
        "widths of the pictures are used. May be given several times. Default: made-up pictures; for "
        "other inputs the warm-up requests of the version, or made-up arrays."
    ),
    topic=Topic.REQUESTS,
)
@option(
    "--widths",
    type=ParsedType("widths", "verification.speed.widths:parse_widths"),
    metavar="LOW-HIGH|N,N,...",
    help="Widths in pixels of made-up pictures, equally likely. Default: 40-400, of pixels as input 256.",
    topic=Topic.REQUESTS,
)
@option(
    "--height",
    type=click.IntRange(min=1),
    default=32,
    show_default=True,
    help="Height of made-up pictures, where the signature leaves it open.",
    topic=Topic.REQUESTS,
)
@option(
    "--batch",
    "--batch-size",
    "batches",
    type=ParsedType("counts", "verification.speed.lists:parse_counts"),
    default="1",
    show_default=True,
    metavar="N,N,...",
    help="Items of each request: pictures, or rows of the arrays.",
    topic=Topic.REQUESTS,
)
@option(
    "--concurrency",
    "concurrencies",
    type=ParsedType("counts", "verification.speed.lists:parse_counts"),
    metavar="N,N,...",
    help=(
        "Requests at a time: each client sends its next one when the last is answered. Default: 1,2,4,8; with --rate "
        "64, the most at a time."
    ),
    topic=Topic.LOAD,
)
@option(
    "--rate",
    "rates",
    type=ParsedType("rates", "verification.speed.lists:parse_rates"),
    metavar="N,N,...",
    help=("Send so many requests per second, whether they are answered or not. Latencies count from the planned time."),
    topic=Topic.LOAD,
)
@option(
    "--window",
    type=SecondsType(),
    default=3,
    show_default=True,
    metavar="SECONDS",
    help="Length of a window. It is longer if fewer than 20 requests have ended in it.",
    topic=Topic.LOAD,
)
@option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=0.1,
    show_default=True,
    metavar="SHARE",
    help="A load is measured until the p99 of three windows, one after the other, differ by at most this share.",
    topic=Topic.LOAD,
)
@option(
    "--most-windows",
    type=click.IntRange(min=3),
    default=10,
    show_default=True,
    help="Windows of a load at most; after them its row is not stable.",
    topic=Topic.LOAD,
)
@option(
    "--profile",
    is_flag=True,
    help=(
        "Also tell where the time of one request at a time goes: convolutions, recurrent layers, decoder and so on, by "
        "TensorFlow's step statistics. Default of --concurrency: 1."
    ),
    topic=Topic.LOADER,
)
@option(
    "--intra-op",
    type=ParsedType("counts", "verification.speed.lists:parse_counts"),
    metavar="N,N,...",
    help="Threads for one op. Each combination with --inter-op and --onednn is measured. Default: the CPUs.",
    topic=Topic.LOADER,
)
@option(
    "--inter-op",
    type=ParsedType("counts", "verification.speed.lists:parse_counts"),
    metavar="N,N,...",
    help="Ops that run at once. Default: the CPUs.",
    topic=Topic.LOADER,
)
@option(
    "--onednn",
    type=click.Choice(["on", "off", "both"]),
    help="Whether TensorFlow computes in oneDNN. Default: as it decides itself, as in a server's image.",
    topic=Topic.LOADER,
)
@option(
    "--mixed-precision",
    type=click.Choice(["bfloat16"]),
    help="Compute in bfloat16, as --mixed_precision of a server. Needs oneDNN.",
    topic=Topic.LOADER,
)
@gpu_option(Topic.LOADER)
@name_option
@option(
    "--timeout",
    type=SecondsType(),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="Time limit of each request to a server. A request is sent once.",
    topic=Topic.SERVER,
)
@option(
    "--plot",
    type=PathType(),
    metavar="FILE.png",
    help="Also draw latency against throughput to this .png or .svg file. Needs matplotlib.",
    topic=Topic.OUTPUT,
)
@json_option
@quiet_option
def bench_served(
    places: Sequence[Union[Path, ModelAddress]], plot: Optional[Path], as_json: bool, quiet: bool, **options: Any
) -> None:
    """Measure a version under load: latency and throughput of a model on a server, or of the files of a version.

    URL is the address of a model: http://HOST:8501/v1/models/NAME, with /versions/N for one version, or the same with
    grpc://. No TensorFlow is needed for it. Without a server, the files are loaded by the C++ loader that TF Serving
    uses, in a process with a server's threads; nothing is encoded or sent there, and nothing is batched. Two are
    compared: they are measured in turns, in one run, and the ratios have confidence intervals.

    Do not run it against a server that clients use: it loads the server as much as it can.
    """
    prepare_tensorflow(options["gpu"])
    from ckpt2saved.verification.speed.opening import Opening, settings_of
    from ckpt2saved.verification.speed.report import as_content, print_result
    from ckpt2saved.verification.speed.run import Plan, measure_places
    from ckpt2saved.verification.speed.sweep import Windows, sweep_points
    from ckpt2saved.verification.speed.workload import Given

    if plot is not None:
        from ckpt2saved.console.plotting import check_plot_file

        check_plot_file(plot, "--plot")
    settings = settings_of(options["intra_op"], options["inter_op"], options["onednn"], options["mixed_precision"])
    concurrencies = options["concurrencies"] or ((1,) if options["profile"] and not options["rates"] else None)
    plan = Plan(
        opening=Opening(options["signature"], options["model_name"], options["timeout"], settings, gpu=options["gpu"]),
        given=Given(tuple(options["files"]), options["widths"], options["height"]),
        points=sweep_points(concurrencies, options["batches"], options["rates"]),
        windows=Windows(options["window"], most=options["most_windows"], tolerance=options["tolerance"]),
        has_profile=options["profile"],
    )
    with narration("bench", quiet=quiet) as say:
        result = measure_places(places, plan, say)
    if as_json:
        print_json(as_content(result))
    else:
        print_result(result)
    if plot is not None:
        from ckpt2saved.verification.speed.plots import plot_result

        plot_result(result, plot)
