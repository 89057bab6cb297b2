"""The command `inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import click

from ckpt2saved.cli.help import Purpose
from ckpt2saved.cli.invocation import command, narration, prepare_tensorflow, print_json, rare_collections
from ckpt2saved.cli.options import PathType, for_device_option, json_option, option


@command(
    "inspect",
    Purpose.FIRST,
    {None: ["runs/crnn/", "runs/crnn/model.ckpt-300.meta --write-signature own.yaml"]},
)
@click.argument("path", type=PathType())
@option(
    "--write-signature",
    type=PathType(),
    metavar="FILE.yaml",
    help="Also write a signature file for export --model; open choices stand in it as comments.",
)
@option("--force", is_flag=True, help="Overwrite the file of --write-signature.")
@for_device_option
@json_option
def inspect(path: Path, write_signature: Optional[Path], force: bool, for_device: Optional[str], as_json: bool) -> None:
    """Show what a checkpoint, meta graph or SavedModel contains, and the command that exports it.

    PATH is a checkpoint (prefix, directory or one of its files), a .meta file, a SavedModel, or a base directory (its
    newest version).
    """
    import ckpt2saved

    prepare_tensorflow(gpu=False)
    with narration("inspect", quiet=False) as say, rare_collections():
        inspection = ckpt2saved.inspect(
            path, write_signature=write_signature, force=force, for_device=for_device, progress=say
        )
    if as_json:
        from ckpt2saved.inspection.content import as_content

        print_json(dict(as_content(inspection), signature=str(write_signature) if write_signature else None))
    else:
        from ckpt2saved.inspection.page import print_inspection

        print_inspection(inspection)
