"""The commands `bump-version`, `list` and `prune`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Optional, Sequence

import click

from ckpt2saved.cli.help import Purpose, Topic
from ckpt2saved.cli.invocation import command, narration, print_json, print_result, printed, reported
from ckpt2saved.cli.live import await_version, probing, server_at, target_on
from ckpt2saved.cli.options import (
    address_type,
    base_argument,
    batched_option,
    deep_option,
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
    "bump-version",
    Purpose.VERSIONS,
    {
        Topic.PUBLISHING: ["models/crnn --from 100000 --dry-run"],
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
@option("--dry-run", is_flag=True, help="Print the directory that would be published.", topic=Topic.PUBLISHING)
@report_option
@json_option
@quiet_option
def bump_version(
    base: Path,
    source: Optional[str],
    version: Optional[int],
    wait_for: Optional[Address],
    timeout: float,
    model_name: Optional[str],
    deep: bool,
    dry_run: bool,
    report: Optional[Path],
    as_json: bool,
    quiet: bool,
    **how: Any,
) -> None:
    """Publish an existing SavedModel as the next version of BASE.

    Use it to roll back, to publish a version again, or to publish a SavedModel that another tool wrote. The published
    directory is printed on stdout, with --wait-for before the wait starts. With --wait-for, answers are compared if
    TensorFlow is installed.
    """
    from ckpt2saved import versions

    with reported(report, "bump-version") as record:
        server = server_at(wait_for, dry_run)
        asked = _probing(base, source, **how) if server else None
        with narration("bump-version", quiet=quiet, on_step=record.add) as say:
            bumped = versions.bump_version(base, source, versions.BumpOptions(version, dry_run, deep), say)
        number, origin = bumped.number, bumped.republished_from
        content = {"path": str(bumped.path), "version": number, "from": origin, "dry_run": dry_run}
        record.add("from", str(bumped.source))
        record.outcome = ("would publish `{}`" if dry_run else "published `{}`").format(bumped.path)
        record.is_done = not dry_run
        if server is None:
            print_result(content, bumped.path, as_json)
        else:
            target = target_on(server, model_name, bumped.path, timeout, asked)
            await_version(target, content, as_json, quiet, record)


def _probing(base: Path, source: Optional[str], probe_signatures: Sequence[str], batched: Optional[bool]) -> Any:
    """The Probing for the options; raises UsageError before anything is published."""
    if not probe_signatures:
        return probing((), batched, ())
    from ckpt2saved import versions
    from ckpt2saved.requests.gathering import served_signatures
    from ckpt2saved.saved_model.reading import SavedModelFile

    published = versions.bump_version(base, source, versions.BumpOptions(dry_run=True))
    return probing(probe_signatures, batched, served_signatures(SavedModelFile(published.source)))


@command("list", Purpose.VERSIONS, {None: ["models/crnn"]})
@base_argument
@deep_option
@json_option
def list_(base: Path, deep: bool, as_json: bool) -> None:
    """List the versions of BASE with origin, size and problems, newest first.

    Directories that TF Serving ignores because of their names are named on stderr.
    """
    from ckpt2saved.saved_model.judgement import EVERYTHING, SAMPLED
    from ckpt2saved.versions import ignored_names, list_versions

    versions = list_versions(base, EVERYTHING if deep else SAMPLED)
    ignored = ignored_names(base)
    if as_json:
        content = [_version_content(version) for version in versions]
        print_json({"versions": content, "ignored": [{"path": str(one.path), "reason": one.reason} for one in ignored]})
    elif not versions:
        click.echo(f"{base}: no versions yet", err=True)
    else:
        from ckpt2saved.versions.table import print_versions

        print_versions(versions)
    for one in () if as_json else ignored:
        click.echo(
            f"{one.path}: TF Serving ignores it, as its name is {one.reason}; publish it with ckpt2saved bump-version"
            f" {base} --from {one.path}",
            err=True,
        )


def _version_content(version: Any) -> Dict[str, Any]:
    from ckpt2saved.errors.problem import details, texts

    origin = version.origin
    return {
        "version": version.number,
        "path": str(version.path),
        "bytes": version.size,
        "modified": version.modified.isoformat(timespec="seconds"),
        "checkpoint": origin and origin.checkpoint,
        "step": origin and origin.step,
        "republished_from": origin and origin.republished_from,
        "problems": texts(version.problems),
        "problem_details": details(version.problems),
        "duplicate_of": version.duplicate_of,
    }


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
def prune(
    base: Path, keep: int, server: Optional[Address], model_name: Optional[str], dry_run: bool, as_json: bool
) -> None:
    """Delete the oldest versions of BASE, never the newest, and print the deleted directories.

    With --server, nothing is deleted until the server reports the newest version AVAILABLE, and no version that the
    server still holds is deleted.
    """
    from ckpt2saved.versions import prune_versions

    with narration("prune", quiet=False) as say:
        held = _held(base, server_at(server), model_name)
        if held:
            states = ", ".join(f"{number} ({held[number]})" for number in sorted(held, reverse=True))
            say("server", f"{server} has versions {states}; none of them is deleted")
        deleted = prune_versions(base, keep=keep, spare=held, dry_run=dry_run, say=say)
    paths = [str(version.path) for version in deleted]
    with printed(f"deleted {', '.join(paths)}" if paths and not dry_run else ""):
        if as_json:
            content = {"deleted": paths, "dry_run": dry_run}
            if server is not None:
                content["server"] = {"address": str(server), "versions": {str(n): held[n] for n in sorted(held)}}
            print_json(content)
        for path in () if as_json else paths:
            click.echo(path)


def _held(base: Path, server: Any, model_name: Optional[str]) -> Dict[int, str]:
    """Version -> state for the versions that the server holds; {} without a server."""
    if server is None:
        return {}
    from ckpt2saved.client.spared import held_versions
    from ckpt2saved.versions import check_base, numbered_children

    check_base(base, reading=True)
    children = numbered_children(base)
    name = model_name or Path(os.path.abspath(str(base))).name
    return held_versions(server, name, children[-1].number) if children else {}
