"""The command `doctor`, whose answer may be no."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import click

from ckpt2saved.cli.invocation import command, print_json
from ckpt2saved.cli.options import PathType, json_option, option


@command("doctor")
@click.argument("saved_model", required=False, type=PathType())
@option("--serving", metavar="VERSION", help="The TF Serving that is to load it. Default: a line for every release.")
@json_option
def doctor(saved_model: Optional[Path], serving: Optional[str], as_json: bool) -> None:
    """Which versions go together: Python, TensorFlow, CUDA, TF Serving, and what a SavedModel needs of it.

    SAVED_MODEL is a version, a SavedModel elsewhere, or a model's directory, of which the newest version is taken. Exit
    code 3 if it asks for an op or an attribute that the TF Serving does not have.
    """
    from ckpt2saved.compatibility.doctor import as_content, diagnose

    diagnosis = diagnose(saved_model, serving)
    if as_json:
        print_json(as_content(diagnosis))
    else:
        from ckpt2saved.compatibility.page import print_diagnosis

        print_diagnosis(diagnosis)
    diagnosis.raise_if_misfit()
