"""The command `sync`."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, Optional, Sequence, Tuple

import click

from ckpt2saved.cli.events import EventKinds, EventPrinter
from ckpt2saved.cli.help import Purpose, Topic
from ckpt2saved.cli.invocation import command, narration, stop_at_signals
from ckpt2saved.cli.options import ParsedType, PathType, SecondsType, json_option, option, quiet_option

_KINDS = EventKinds(
    failures=("ahead", "failed", "incomplete"),
    then=dict.fromkeys(("syncing", "published", "pruned", "failed"), "waiting for a version"),
)


@command(
    "sync",
    Purpose.VERSIONS,
    {
        None: [
            "s3://bucket/models/crnn models/crnn",
            "s3://bucket/models/crnn s3://bucket/models/ctpn models --listen :9090",
            "/mnt/models/crnn models/crnn --once",
        ]
    },
)
@click.argument("urls", nargs=-1, required=True, metavar="URL...")
@click.argument("local_base", type=PathType())
@option(
    "--versions",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Number of versions that an empty LOCAL_BASE gets, the newest ones.",
    topic=Topic.SYNC,
)
@option(
    "--keep",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="After publishing, delete old versions of LOCAL_BASE as prune --keep N does.",
    topic=Topic.SYNC,
)
@option(
    "--interval",
    type=SecondsType(),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between two listings of the URLs; longer after failures, up to ten minutes.",
    topic=Topic.SYNC,
)
@option(
    "--once",
    is_flag=True,
    help="Pull what is there, and exit: with 0 if each model has its newest version, else with 1.",
    topic=Topic.SYNC,
)
@option(
    "--until-ready",
    is_flag=True,
    help="Exit with 0 as soon as LOCAL_BASE has a complete version of each model, for an init container.",
    topic=Topic.SYNC,
)
@option(
    "--listen",
    type=ParsedType("host:port", "versions.syncing.endpoint:parse_listen"),
    metavar="HOST:PORT",
    help="Answer GET /healthz, /readyz and /metrics (for Prometheus) at this address; :9090 is every address.",
    topic=Topic.SYNC,
)
@json_option
@quiet_option
def sync(
    urls: Sequence[str],
    local_base: Path,
    versions: int,
    keep: int,
    interval: float,
    once: bool,
    until_ready: bool,
    listen: Optional[Tuple[str, int]],
    as_json: bool,
    quiet: bool,
) -> None:
    """Pull the new versions of models at URLs into base directories of this machine, for its TF Serving.

    A URL is that of a base directory in an object store (s3://, gs://, az://), or the path of one, as of a mounted
    file system. With one URL, LOCAL_BASE is the base directory of that model; with several, each model has a directory
    in it, named as the last part of the URL. A version keeps its number. It is published if its files are those that
    were exported. Published directories are printed on stdout. SIGINT and SIGTERM stop it with exit code 0,
    with --once and --until-ready with 1.
    """
    from ckpt2saved.console.loops import Stop
    from ckpt2saved.versions.syncing.loop import Syncer, synced_models
    from ckpt2saved.versions.syncing.model import Surroundings, SyncOptions

    stop = Stop()
    if once and until_ready:
        raise click.UsageError("--until-ready: not with --once, which looks once")
    options = SyncOptions(versions, keep, interval, once=once, until_ready=until_ready)
    with stop_at_signals(stop.request), narration("sync", quiet=quiet) as say:
        emit = EventPrinter(say, _KINDS, as_json, quiet)
        around = Surroundings(options, emit, say, stop)
        syncer = Syncer(synced_models(urls, local_base, around), around)
        with _answering(listen, syncer) as url:
            code = syncer.run(url)
    click.get_current_context().exit(code)


def _answering(listen: Optional[Tuple[str, int]], syncer: Any) -> Any:
    """The context in which the health endpoint answers, with its URL."""
    if listen is None:
        return contextlib.nullcontext()
    from ckpt2saved.versions.syncing.endpoint import listening

    return listening(listen, syncer.state)
