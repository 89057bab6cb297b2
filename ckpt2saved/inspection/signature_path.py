"""Where a signature file may be written, which is known before TensorFlow is imported."""

from __future__ import annotations

import os
from pathlib import Path

from ckpt2saved.errors import UsageError


def check_target(path: Path, force: bool) -> None:
    """Refuse a file that is there, or that export would not take for a signature, before any work is done."""
    if path.suffix not in (".yaml", ".yml"):
        raise UsageError(f"--write-signature: {path} does not end in .yaml, as a signature file does")
    if os.path.lexists(str(path)) and not force:
        raise UsageError(f"--write-signature: {path} is there already; pass another path, or --force to replace it")
    if not os.path.isdir(str(path.parent)):
        raise UsageError(f"--write-signature: there is no directory {path.parent}")
