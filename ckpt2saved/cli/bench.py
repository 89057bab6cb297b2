"""The command group `bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Optional, Sequence

import click

from ckpt2saved.cli.help import HelpfulGroup, Purpose
from ckpt2saved.cli.invocation import SETTINGS, Command, narration, prepare_tensorflow, print_json
from ckpt2saved.cli.options import PathType, json_option, option, quiet_option


@click.group("bench", cls=HelpfulGroup, context_settings=SETTINGS, purpose=Purpose.CHECKS)
def bench() -> None:
    """Measure speed: of CTC decoders on this machine, and of a version that a server answers from."""


@bench.command(
    "ctc", cls=Command, context_settings=SETTINGS, examples={None: ["--case 32x64x3862:10 --plot decoders.png"]}
)
@option(
    "--repeats",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Least number of runs of each decoder; the median is printed.",
)
@option(
    "--case",
    "cases",
    multiple=True,
    metavar="BATCHxSTEPSxCLASSES:WIDTH",
    help="Batch, steps, classes and beam width to measure, in place of the default ones. May be given several times.",
)
@option("--plot", type=PathType(), help="Also draw a bar chart to this .png or .svg file. Needs matplotlib.")
@json_option
@quiet_option
def bench_ctc(repeats: int, cases: Sequence[str], plot: Optional[Path], as_json: bool, quiet: bool) -> None:
    """Compare the CTC decoders: TensorFlow's beam search, the fast beam search with the same answers, greedy.

    Default: a batch of 128 lines, 50 to 128 steps, 3862 classes, for which TensorFlow's op takes minutes.
    """
    if plot:
        from ckpt2saved.console.plotting import check_plot_file

        check_plot_file(plot, "--plot")
    with narration("bench", quiet=quiet) as say:
        say.begin("starting TensorFlow")
        prepare_tensorflow(gpu=False)
        from ckpt2saved.ctc.bench import CASES, as_content, machine, parse_case, time_decoders

        chosen = [case for text in cases for case in parse_case(text)] or CASES
        timings = time_decoders(chosen, repeats=repeats, say=say)
    if as_json:
        print_json(as_content(timings))
    else:
        from ckpt2saved.console.tables import print_timings

        print_timings(timings, machine())
    if plot:
        from ckpt2saved.ctc.plots import plot_decoders

        plot_decoders(timings, machine(), plot)
