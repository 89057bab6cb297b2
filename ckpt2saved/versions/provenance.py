"""The origin of a version in `assets.extra/ckpt2saved.json`, which also marks it as published by ckpt2saved."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Dict, FrozenSet, List, Mapping, Optional

from ckpt2saved.files.json_text import read_json
from ckpt2saved.files.reading import PathLike, read_file
from ckpt2saved.files.write_errors import writing

PROVENANCE = Path("assets.extra") / "ckpt2saved.json"

_MOST_BYTES = 1 << 22


def read_provenance(version_dir: PathLike) -> Optional[Dict[str, Any]]:
    """Return the recorded origin of a version; None if there is no readable record."""
    try:
        content = read_json(read_file(Path(version_dir) / PROVENANCE, _MOST_BYTES).decode("utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def content_of(provenance: Optional[Dict[str, Any]]) -> FrozenSet[str]:
    """Return the SHA-256 of the checkpoint's files that a provenance records; empty without any."""
    checkpoint = (provenance or {}).get("checkpoint")
    hashes = checkpoint.get("sha256") if isinstance(checkpoint, dict) else None
    values = hashes.values() if isinstance(hashes, dict) else ()
    return frozenset(value for value in values if isinstance(value, str))


def recorded_without_batch(version_dir: PathLike) -> Dict[str, List[str]]:
    """Return signature -> inputs and outputs whose first dimension is not the batch dimension.

    Empty if the export did not record it.
    """
    found = (read_provenance(version_dir) or {}).get("without_batch")
    if not isinstance(found, dict):
        return {}
    return {
        name: [key for key in keys if isinstance(key, str)] for name, keys in found.items() if isinstance(keys, list)
    }


def write_provenance(version_dir: PathLike, content: Mapping[str, Any]) -> Path:
    """Write the origin into a stage, and return the file; an existing file is replaced, never written through."""
    path = Path(version_dir) / PROVENANCE
    path.parent.mkdir(exist_ok=True)
    if os.path.lexists(os.fspath(path)):
        path.unlink()
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    # A path that is no UTF-8 holds lone surrogates, and their \udcff is JSON as well.
    with writing(path):
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
    return path
