"""The server options of the commands, and the wait until a server serves a published version."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Collection, Dict, Optional, Sequence

import click

from ckpt2saved.cli.invocation import after_publishing, narration, prepare_tensorflow, print_json, printed
from ckpt2saved.cli.options import is_on_command_line
from ckpt2saved.errors import Ckpt2SavedError

# Options that need the address of a server.
_OF_A_SERVER = {
    "model_name": "--model-name",
    "probe_signatures": "--probe-signature",
    "batched": "--batched, --unbatched",
}


def server_at(address: Any, dry_run: bool = False, other: Any = None) -> Any:
    """The client for the server to wait for; None without an address or in a dry run.

    --model-name may also be meant for the server `other`.
    """
    if address is None:
        for name, text in _OF_A_SERVER.items():
            if is_on_command_line(name) and not (other and name == "model_name"):
                raise click.UsageError(f"{text}: only with the address of a server")
        return None
    if dry_run:
        if is_on_command_line("wait_for"):
            raise click.UsageError("--wait-for: not with --dry-run, which publishes nothing")
        return None
    from ckpt2saved.client.connection import connect

    return connect(address)


def probing(signatures: Sequence[str], batched: Optional[bool], known: Collection[str]) -> Any:
    """The Probing for these options; raises UsageError for a signature that is not in `known`."""
    from ckpt2saved.answers.probing import Probing

    for name in signatures:
        if name not in known:
            raise click.UsageError(
                f"--probe-signature {name}: there is no such signature; expected one of"
                f" {', '.join(sorted(known)) or 'none'}"
            )
    return Probing(tuple(dict.fromkeys(signatures)), batched)


def target_on(server: Any, model_name: Optional[str], path: Path, timeout: float, asked: Any) -> Any:
    """The Target for the version in `path`."""
    from ckpt2saved.answers.server_asker import Target
    from ckpt2saved.versions import parse_version

    absolute = Path(os.path.abspath(str(path)))
    number = parse_version(absolute.name)
    if number is None:
        raise click.UsageError(f"{path}: its name is not a version number, so no server can serve it")
    return Target(
        server=server,
        model=model_name or absolute.parent.name,
        version=number,
        directory=path,
        timeout=timeout,
        probing=asked,
    )


def await_version(
    target: Any, content: Dict[str, Any], as_json: bool, quiet: bool, record: Any, known: Any = ()
) -> None:
    """Print the published version, wait until the server reports it AVAILABLE, and raise NotLive if it does not."""
    from ckpt2saved.answers.server_answers import as_content
    from ckpt2saved.answers.server_requests import requests_without_answers
    from ckpt2saved.verification.live import check_live

    done = f"{content['path']} is published"
    if not as_json:
        with printed(done):
            click.echo(content["path"])  # printed first, because it is published even if the wait fails

    def prepare() -> Any:
        if not _has_tensorflow():
            why = "that needs TensorFlow, which is not installed in this Python"
            return requests_without_answers(target.directory, why)
        prepare_tensorflow(gpu=False)
        from ckpt2saved.answers.file_answers import requests_with_answers

        return requests_with_answers(target.directory, known=known)

    with after_publishing(content["path"]):
        with narration(f"wait for {target.server.address}", quiet=quiet, on_step=record.add) as say:
            try:
                report = check_live(target, prepare, say=say)
            except Ckpt2SavedError as error:
                if as_json:
                    server = {"address": str(target.server.address), "problems": [str(error)]}
                    with printed(done):
                        print_json(dict(content, server=server))
                raise
        if as_json:
            with printed(done):
                print_json(dict(content, server=as_content(report)))
        report.raise_if_not_live()
    record.outcome += f", live on {target.server.address}"


def _has_tensorflow() -> bool:
    """Whether TensorFlow is installed; does not import it."""
    from importlib.util import find_spec

    # find_spec fails for TensorFlow 1.14 if it is already imported.
    return sys.modules.get("tensorflow") is not None or find_spec("tensorflow") is not None
