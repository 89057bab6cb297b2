"""JSON Schemas of signature files, of provenance and of the output of each command with --json.

The files are written by tools/make_schemas.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Dict, List

FOLDER = Path(__file__).resolve().parent
_ENDING = ".schema.json"


def names() -> List[str]:
    """Return the names of all schemas."""
    return sorted(path.name[: -len(_ENDING)] for path in FOLDER.glob("*" + _ENDING))


def text_of(name: str) -> str:
    """Return the text of a schema."""
    return (FOLDER / (name + _ENDING)).read_text(encoding="utf-8")


def titles() -> Dict[str, str]:
    """Return the sentence that says what each schema is for, by name."""
    return {name: json.loads(text_of(name))["title"] for name in names()}
