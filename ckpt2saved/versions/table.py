"""The list of versions as a table for people."""

from __future__ import annotations

from typing import Iterable, List

from ckpt2saved.console.sizes import size_text
from ckpt2saved.console.tables import print_rows
from ckpt2saved.errors.problem import texts
from ckpt2saved.files.reading import printable
from ckpt2saved.versions.listing import Version

_HEADINGS = ("version", "from", "size", "published (UTC)", "health")


def print_versions(versions: Iterable[Version]) -> None:
    """Print a line for each version: number, origin, size, age and problems."""
    rows, styles = [], []
    for version in versions:
        cells = [printable(version.name), _origin(version), size_text(version.size)]
        rows.append([*cells, version.modified.strftime("%Y-%m-%d %H:%M"), "\n".join(_health(version)) or "complete"])
        styles.append("red" if version.problems else "yellow" if version.duplicate_of else "")
    print_rows(_HEADINGS, rows, styles)


def _origin(version: Version) -> str:
    origin = version.origin
    if origin is None:
        return "elsewhere"
    parts: List[str] = []
    if origin.checkpoint is not None:
        parts.append(origin.checkpoint if origin.step is None else f"{origin.checkpoint}, step {origin.step}")
    if origin.republished_from is not None:
        parts.append(f"republished from {origin.republished_from}")
    return "; ".join(parts) or "ckpt2saved"


def _health(version: Version) -> List[str]:
    lines = texts(version.problems)
    if version.duplicate_of:
        lines.append(f"the same number as {printable(version.duplicate_of)}, which TF Serving loads instead")
    return lines
