"""Check the path of --write-signature, before TensorFlow is imported."""

from __future__ import annotations

import os
from pathlib import Path

from ckpt2saved.errors import UsageError


def check_signature_path(path: Path, force: bool) -> None:
    """Raise UsageError if the file exists (without --force), is no .yaml file, or its directory is missing."""
    if path.suffix not in (".yaml", ".yml"):
        raise UsageError(f"--write-signature: {path} does not end in .yaml, as a signature file does")
    if os.path.lexists(str(path)) and not force:
        raise UsageError(f"--write-signature: {path} is there already; pass another path, or --force to replace it")
    if not os.path.isdir(str(path.parent)):
        raise UsageError(f"--write-signature: there is no directory {path.parent}")
