"""Commands: parse options, call, print."""

from __future__ import annotations

import click

from ckpt2saved import __version__
from ckpt2saved.cli import (
    bench_served,
    diff,
    doctor,
    evaluate,
    explain,
    export,
    inspect,
    predict,
    schema,
    serving_config,
    sync,
    verify,
    versions,
    watch,
)
from ckpt2saved.cli.invocation import SETTINGS, heed_signals
from ckpt2saved.cli.streams import Main


@click.group(cls=Main, context_settings=SETTINGS)
@click.version_option(__version__, prog_name="ckpt2saved")
def main() -> None:
    """Publish TensorFlow checkpoints of OCR networks as SavedModel versions that TF Serving hot-loads.

    Exit codes: 0 done; 1 could not be done; 2 wrong command line; 3 done, and the answer is no (the answers differ from
    those of the checkpoint, the graph cannot be served, a server does not serve the version, pictures are not read, or
    the text is read worse than is allowed).
    """
    heed_signals()


for command in (
    inspect.inspect,  # the three to begin with, in this order
    export.export,
    serving_config.serving_config,
    bench_served.bench,
    diff.diff,
    doctor.doctor,
    evaluate.evaluate,
    explain.explain,
    predict.predict,
    schema.schema,
    sync.sync,
    verify.verify,
    versions.bump_version,
    versions.list_,
    versions.prune,
    watch.watch,
):
    main.add_command(command)
