"""The command `diff`."""

from __future__ import annotations

from pathlib import Path

import click

from ckpt2saved.cli.help import Purpose
from ckpt2saved.cli.invocation import command, print_json
from ckpt2saved.cli.options import PathType, json_option
from ckpt2saved.errors import BreaksClients


@command("diff", Purpose.CHECKS, {None: ["models/crnn/100000 models/crnn/100001", "models/crnn/100000 models/crnn"]})
@click.argument("old", type=PathType())
@click.argument("new", type=PathType())
@json_option
def diff(old: Path, new: Path, as_json: bool) -> None:
    """Compare two SavedModels: signatures, graph, variables, files. Exit code 3 if clients of OLD could not use NEW.

    OLD and NEW are versions, or base directories (their newest version). Clients break where a signature, an input or
    an output is gone, where a new input is needed, or where a dtype or shape does not fit. Values of variables are
    compared by checksum.
    """
    import ckpt2saved

    found = ckpt2saved.diff(old, new)
    if as_json:
        print_json(found.as_content())
    else:
        from ckpt2saved.verification.differences_table import print_differences

        print_differences(found)
    if found.problems:
        count = f"{len(found.problems)} reasons" if len(found.problems) > 1 else "1 reason"
        raise BreaksClients(f"{found.new}: clients of {found.old} could not use it, for {count}")
