"""The command `doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import click

from ckpt2saved.cli.help import Purpose
from ckpt2saved.cli.invocation import command, print_json
from ckpt2saved.cli.options import PathType, for_device_option, json_option, option


@command("doctor", Purpose.CHECKS, {None: ["models/crnn --serving 1.14", "models/crnn --serving 2.19-gpu"]})
@click.argument("saved_model", required=False, type=PathType())
@option(
    "--serving", metavar="VERSION", help="TF Serving release to check the SavedModel against. Default: every release."
)
@for_device_option
@json_option
def doctor(saved_model: Optional[Path], serving: Optional[str], for_device: Optional[str], as_json: bool) -> None:
    """Check which versions of Python, TensorFlow, CUDA and TF Serving work together, and with a SavedModel.

    SAVED_MODEL is a SavedModel, or a base directory (its newest version). Exit code 3 if the TF Serving release lacks
    an op, an attribute or a kernel that the SavedModel uses.
    """
    from ckpt2saved.compatibility.doctor import as_content, diagnose

    diagnosis = diagnose(saved_model, serving, for_device)
    if as_json:
        print_json(as_content(diagnosis))
    else:
        from ckpt2saved.compatibility.page import print_diagnosis

        print_diagnosis(diagnosis)
    diagnosis.raise_if_misfit()
