"""The command `schema`."""

from __future__ import annotations

from typing import Optional

import click

from ckpt2saved.cli.invocation import command, print_json
from ckpt2saved.cli.options import json_option


@command("schema", examples={None: ["signature"]})
@click.argument("name", required=False)
@json_option
def schema(name: Optional[str], as_json: bool) -> None:
    """Print a JSON Schema: of signature files, of provenance, or of what a command prints with --json.

    Without NAME, the names are listed. With NAME, --json changes nothing. The schemas are of draft-07. docs/json.md
    says how to use them in CI, and how an editor checks signature files.
    """
    from ckpt2saved.cli.schemas import names, text_of, titles

    if name is None:
        found = titles()
        if as_json:
            print_json({"schemas": [{"name": one, "title": title} for one, title in found.items()]})
            return
        longest = max(map(len, found))
        for one, title in found.items():
            click.echo(f"{one:{longest}}  {title}")
        return
    known = names()
    if name not in known:
        from ckpt2saved.errors.nearest import did_you_mean

        raise click.UsageError(f"{name!r} is not the name of a schema; {did_you_mean(name, known)}")
    click.echo(text_of(name).encode("utf-8"), nl=False)
