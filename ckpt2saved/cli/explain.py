"""The command `explain`."""

from __future__ import annotations

import sys
from typing import Sequence

import click

from ckpt2saved.cli.help import Purpose
from ckpt2saved.cli.invocation import command, print_json
from ckpt2saved.cli.options import json_option
from ckpt2saved.console.wrapping import is_terminal, width_of_terminal, wrapped_line


@command("explain", Purpose.MORE, {None: ["missing-variable"]})
@click.argument("codes", nargs=-1, metavar="[CODE]...")
@json_option
def explain(codes: Sequence[str], as_json: bool) -> None:
    """Say what the codes of problems and notes mean, and what helps.

    An error ends with the codes of its problems, and --json has the code of each problem and note. Without CODE, all
    codes are listed.
    """
    from ckpt2saved.errors.codes import CODES
    from ckpt2saved.errors.explanation import explanation
    from ckpt2saved.errors.nearest import did_you_mean

    codes = list(dict.fromkeys(code.replace("_", "-") for code in codes))
    for code in codes:
        if code not in CODES:
            hint = did_you_mean(code, CODES, "ckpt2saved explain lists all codes")
            raise click.UsageError(f"there is no code {code!r}; {hint}")
    if as_json:
        found = [{"code": code, "meaning": CODES[code], "text": explanation(code)} for code in codes or sorted(CODES)]
        print_json({"codes": found})
        return
    text = (
        "\n\n".join(map(explanation, codes)) if codes else "\n".join(f"{code}: {CODES[code]}" for code in sorted(CODES))
    )
    if is_terminal(sys.stdout):
        width = width_of_terminal()
        text = "\n".join(wrapped_line(line, width) for line in text.split("\n"))
    click.echo(text)
