"""The differences of two SavedModels as lines for people."""

from __future__ import annotations

from pathlib import Path
from typing import List

from ckpt2saved.console.sizes import size_text
from ckpt2saved.console.tables import print_labelled, stdout
from ckpt2saved.errors.problem import Message
from ckpt2saved.files.reading import printable
from ckpt2saved.verification.differences import Differences
from ckpt2saved.versions.health import health
from ckpt2saved.versions.provenance import read_provenance


def print_differences(found: Differences) -> None:
    """Print both SavedModels with their origin and size, then a line for each difference."""
    console = stdout()
    print_labelled(console, "old", _described(found.old))
    print_labelled(console, "new", _described(found.new))
    for problem in found.problems:
        print_labelled(console, "breaks", _text(problem), "red")
    for note in found.notes:
        print_labelled(console, "differs", _text(note))
    if found.are_none:
        print_labelled(console, "same", "signatures, graph, variables and files", "green")


def _text(message: Message) -> str:
    return f"{message.where}: {message.found}"


def _described(directory: Path) -> str:
    parts: List[str] = []
    checkpoint = (read_provenance(directory) or {}).get("checkpoint")
    if isinstance(checkpoint, dict):
        name, step = checkpoint.get("name"), checkpoint.get("step")
        parts += [printable(str(name))] if name else []
        parts += [printable(f"step {step}")] if step is not None else []
    return f"{printable(str(directory))} ({', '.join([*parts, size_text(health(directory).size)])})"
