"""The command `inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import click

from ckpt2saved.cli.help import Purpose
from ckpt2saved.cli.invocation import command, narration, prepare_tensorflow, print_json, rare_collections
from ckpt2saved.cli.options import PathType, json_option, option


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
@json_option
def inspect(path: Path, write_signature: Optional[Path], force: bool, as_json: bool) -> None:
    """Show what a checkpoint, meta graph or SavedModel contains, and the command that exports it.

    PATH is a checkpoint (prefix, directory or one of its files), a .meta file, a SavedModel, or a base directory (its
    newest version).
    """
    from ckpt2saved.inspection.subject import find_subject

    if write_signature:
        from ckpt2saved.inspection.signature_path import check_signature_path

        check_signature_path(write_signature, force)
    subject = find_subject(path)
    with narration("inspect", quiet=False) as say, rare_collections():
        say.begin("starting TensorFlow")
        prepare_tensorflow(gpu=False)
        from ckpt2saved.inspection.content import as_content
        from ckpt2saved.inspection.report import inspect_subject

        say.begin(f"reading {path}")
        inspection = inspect_subject(subject)
    if write_signature:
        from ckpt2saved.inspection.signature_file import write_signature as write

        write(inspection, write_signature, force)
    if as_json:
        print_json(dict(as_content(inspection), signature=str(write_signature) if write_signature else None))
    else:
        from ckpt2saved.inspection.page import print_inspection

        print_inspection(inspection)
