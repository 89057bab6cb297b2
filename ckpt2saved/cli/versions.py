"""The commands `bump-version`, `list` and `prune`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Optional, Sequence, Union

import click

from ckpt2saved.cli.help import Purpose, Topic
from ckpt2saved.cli.invocation import command, narration, prepare_tensorflow, print_json, printed, reported
from ckpt2saved.cli.live import Published, publishing
from ckpt2saved.cli.options import (
    address_type,
    base_argument,
    batched_option,
    batching_params_option,
    called,
    compatible_option,
    deep_option,
    json_option,
    model_name_option,
    option,
    probe_signature_option,
    quiet_option,
    refuse_wait_in_dry_run,
    report_option,
    single_writer_option,
    timeout_option,
    version_option,
    wait_option,
)


@command(
    "bump-version",
    Purpose.VERSIONS,
    {
        Topic.PUBLISHING: ["models/crnn --from 100000 --dry-run"],
        Topic.PROOF: ["models/crnn --from /tmp/new --compatible-with newest"],
        Topic.SERVER: ["models/crnn --from 100000 --wait-for http://localhost:8501"],
        None: ["models/crnn --from 100000", "models/crnn --from /tmp/saved_model_of_another_tool"],
    },
)
@base_argument
@option(
    "--from",
    "source",
    metavar="N|DIR",
    help="Version number in BASE, or directory of a SavedModel, to publish. Default: newest version.",
    topic=Topic.PUBLISHING,
)
@version_option
@wait_option
@timeout_option
@model_name_option
@probe_signature_option
@batched_option
@deep_option
@compatible_option
@batching_params_option
@single_writer_option
@option("--dry-run", is_flag=True, help="Print the directory that would be published.", topic=Topic.PUBLISHING)
@report_option
@json_option
@quiet_option
def bump_version(base: Union[Path, str], report: Optional[Path], as_json: bool, quiet: bool, **options: Any) -> None:
    """Publish an existing SavedModel as the next version of BASE.

    Use it to roll back, to publish a version again, or to publish a SavedModel that another tool wrote. The published
    directory is printed on stdout, with --wait-for before the wait starts. With --wait-for, answers are compared if
    TensorFlow is installed.
    """
    import ckpt2saved

    refuse_wait_in_dry_run()
    prepare_tensorflow(gpu=False)
    with reported(report, "bump-version") as record:
        with narration("bump-version", quiet=quiet, on_step=record.add) as say:
            progress = Published(say, record, as_json)
            with publishing(progress, options["wait_for"], as_json):
                version = called(ckpt2saved.bump_version, base, progress=progress, **options)
        record.add("from", str(version.source))
        progress.finish(version)


@command("list", Purpose.VERSIONS, {None: ["models/crnn"]})
@base_argument
@deep_option
@json_option
def list_(base: Union[Path, str], deep: bool, as_json: bool) -> None:
    """List the versions of BASE with origin, size and problems, newest first.

    Directories that TF Serving ignores because of their names are named on stderr.
    """
    import ckpt2saved

    listing = ckpt2saved.list_versions(base, deep=deep)
    if as_json:
        print_json(listing.as_content())
        return
    if listing:
        from ckpt2saved.versions.table import print_versions

        print_versions(listing)
    else:
        click.echo(f"{base}: no versions yet{_models_in(base)}", err=True)
    from ckpt2saved.files.shell_words import for_shell

    for one in listing.ignored:
        click.echo(
            f"{one.path}: TF Serving ignores it, as its name is {one.reason}; publish it with ckpt2saved bump-version"
            f" {for_shell(base)} --from {for_shell(one.path)}",
            err=True,
        )


def _models_in(base: Union[Path, str]) -> str:
    """Name the base directories in `base`, for people who give the directory of all models."""
    from ckpt2saved.errors.problem import listed
    from ckpt2saved.files.shell_words import for_shell
    from ckpt2saved.versions import numbered_children

    if isinstance(base, str):
        return ""
    models = [path for path in sorted(base.iterdir()) if path.is_dir() and numbered_children(path)]
    return f"; it holds models: pass {listed([for_shell(path) for path in models], 3)}" if models else ""


@command("prune", Purpose.VERSIONS, {None: ["models/crnn --keep 3 --server http://localhost:8501 --dry-run"]})
@base_argument
@option("--keep", type=click.IntRange(min=1), default=5, show_default=True, help="Number of complete versions to keep.")
@option(
    "--server",
    type=address_type,
    metavar="URL",
    help="Keep versions that this TF Serving still holds: http://host:8501 or grpc://host:8500.",
)
@model_name_option
@option("--dry-run", is_flag=True, help="Print the directories that would be deleted.")
@json_option
def prune(base: Union[Path, str], as_json: bool, dry_run: bool, **options: Any) -> None:
    """Delete the oldest versions of BASE, never the newest, and print the deleted directories.

    With --server, nothing is deleted until the server reports the newest version AVAILABLE, and no version that the
    server still holds is deleted. If a version can't be deleted, the others are deleted nevertheless, and the command
    fails.
    """
    import ckpt2saved
    from ckpt2saved.errors import NotDeleted

    try:
        with narration("prune", quiet=False) as say:
            pruned = called(ckpt2saved.prune, base, dry_run=dry_run, progress=say, **options)
    except NotDeleted as error:
        from ckpt2saved.errors.problem import error_content

        paths = [str(path) for path in error.deleted]
        _print_deleted(paths, {**error_content(error), "deleted": paths} if as_json else None, dry_run)
        raise
    paths = [str(version.path) for version in pruned.deleted]
    _print_deleted(paths, pruned.as_content() if as_json else None, dry_run)


def _print_deleted(paths: Sequence[str], content: Optional[Dict[str, Any]], dry_run: bool) -> None:
    """Print the deleted directories, or the content of --json."""
    with printed(f"deleted {', '.join(paths)}" if paths and not dry_run else ""):
        if content is not None:
            print_json(content)
        for path in () if content is not None else paths:
            click.echo(path)
