"""The command `watch`."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, Dict, Optional, Sequence, Union

import click

from ckpt2saved.cli.events import EventKinds, EventPrinter
from ckpt2saved.cli.export_options import export_options
from ckpt2saved.cli.help import Purpose, Topic
from ckpt2saved.cli.invocation import command, narration, stop_at_signals
from ckpt2saved.cli.options import PathType, SecondsType, called, json_option, option, quiet_option

_KINDS = EventKinds(
    failures=("failed", "incomplete", "not-live", "refused"),
    then=dict.fromkeys(("watching", "published", "live", "refused", "skipped", "vanished"), "waiting for a checkpoint"),
)


@command(
    "watch",
    Purpose.VERSIONS,
    {
        Topic.WATCHING: ["runs/crnn --model crnn -o models/crnn --select all --exit-after-idle 3600"],
        Topic.LABELS: ["runs/crnn --model crnn -o models/crnn --select best --lines lines.tsv --max-cer 0.1"],
        Topic.PUBLISHING: ["runs/crnn --model crnn -o models/crnn --keep 5"],
        Topic.SERVER: ["runs/crnn --model crnn -o models/crnn --wait-for http://localhost:8501"],
        None: ["runs/crnn --model crnn --export-dir models/crnn"],
    },
)
@click.argument("run_dir", type=PathType())
@export_options
@option(
    "--select",
    type=click.Choice(["latest", "all", "best"]),
    default="latest",
    show_default=True,
    help=(
        "Which of several new checkpoints are published. latest: the newest, the others are left out; all: each, "
        "oldest first; best: the one that reads --lines best, if it reads them better than the newest version, or than "
        "what --not-worse-than names."
    ),
    topic=Topic.WATCHING,
)
@option(
    "--interval",
    type=SecondsType(),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between two looks into the directory.",
    topic=Topic.WATCHING,
)
@option(
    "--once",
    is_flag=True,
    help="Handle the checkpoints that are there, and exit with the exit code that export would have.",
    topic=Topic.WATCHING,
)
@option(
    "--exit-after-idle",
    type=SecondsType(),
    metavar="SECONDS",
    help="Exit when no new checkpoint came for so long.",
    topic=Topic.WATCHING,
)
@option(
    "--until-step",
    type=click.IntRange(min=0),
    help="Exit when a checkpoint of this step, or of a later one, was handled.",
    topic=Topic.WATCHING,
)
@option(
    "--keep",
    type=click.IntRange(min=1),
    help="After publishing, delete old versions as prune --keep N does; with --wait-for, none that the server holds.",
    topic=Topic.PUBLISHING,
)
@json_option
@quiet_option
def watch(
    run_dir: Path,
    export_dir: Union[Path, str],
    select: str,
    interval: float,
    once: bool,
    exit_after_idle: Optional[float],
    until_step: Optional[int],
    keep: Optional[int],
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Publish each new checkpoint of a training directory, while the training runs.

    Published directories are printed on stdout. A checkpoint is published once, also after a restart and beside other
    watchers. SIGINT and SIGTERM stop it with exit code 0; the export that runs then leaves no files. With --json each
    event is a line.
    """
    import ckpt2saved
    from ckpt2saved.console.loops import Stop
    from ckpt2saved.exporting.export_process import ExportProcess
    from ckpt2saved.exporting.watching import Watcher, WatchOptions

    options.update(options=dict(options["options"]), pinned=dict(options["pinned"]))
    base = _local(export_dir)
    keywords = _checked(run_dir, base, select, options)

    def prune(count: int) -> Sequence[Path]:
        where = {"server": keywords["wait_for"], "model_name": keywords["model_name"]} if keywords["wait_for"] else {}
        return [Path(str(one.path)) for one in ckpt2saved.prune(base, count, **where).deleted]

    watch_options = WatchOptions(
        run_dir=run_dir,
        base=base,
        select=select,
        interval=interval,
        once=once,
        exit_after_idle=exit_after_idle,
        until_step=until_step,
        keep=keep,
    )
    stop = Stop()
    with stop_at_signals(stop.request), narration("watch", quiet=quiet) as say:
        emit = EventPrinter(say, _KINDS, as_json, quiet)
        export = ExportProcess(base, keywords, emit, say, stop)
        code = Watcher(watch_options, export, prune, emit, stop).run()
    click.get_current_context().exit(code)


def _local(export_dir: Union[Path, str]) -> Path:
    """Return the base directory; raises UsageError if it is in an object store."""
    from ckpt2saved.errors import UsageError

    if isinstance(export_dir, str):
        raise UsageError(
            f"--export-dir {export_dir}: watch publishes into a directory of this machine only; call export for each"
            " checkpoint, with --unless-published"
        )
    return export_dir


def _checked(run_dir: Path, export_dir: Path, select: str, options: Dict[str, Any]) -> Dict[str, Any]:
    """The keywords of ckpt2saved.export, checked as far as that is possible without a checkpoint.

    Raises UsageError, SignatureError, LabelsError, VersionError, and ServerError if a package is missing.
    """
    from ckpt2saved.errors import CheckpointError, UsageError
    from ckpt2saved.exporting.keywords import read_export
    from ckpt2saved.exporting.watching import BEST
    from ckpt2saved.files.reading import is_url
    from ckpt2saved.sources.graph_plan import plan_graph
    from ckpt2saved.versions import check_base

    if is_url(run_dir) or (run_dir.exists() and not run_dir.is_dir()):
        raise UsageError(f"{run_dir}: expected the directory of this machine that a training writes checkpoints into")
    if select == BEST:
        if options["lines"] is None:
            raise UsageError("--select best: only with --lines, whose pictures every checkpoint reads")
        better_than = options["better_than"] or options["not_worse_than"] or "newest"
        options = dict(options, not_worse_than=None, better_than=better_than)
    check_base(export_dir)

    def read(**keywords: Any) -> Dict[str, Any]:
        of_export, _ = read_export(
            run_dir,
            export_dir,
            **dict(
                keywords, version=None, dry_run=False, unless_published=True, skip_unchanged=False, single_writer=False
            ),
        )
        with contextlib.suppress(CheckpointError):  # there may be none yet
            plan_graph(of_export.graph)
        return keywords

    return called(read, **options)
