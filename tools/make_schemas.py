"""Writes the JSON Schemas that `ckpt2saved schema` shows: `python tools/make_schemas.py`."""

from __future__ import annotations

import json
from typing import Dict

from ckpt2saved.cli.schemas import FOLDER
from tools.schemas.parts import Schema
from tools.schemas.signature import signature_schema


def schemas() -> Dict[str, Schema]:
    """Return each schema by its name."""
    return {"signature": signature_schema()}


def as_text(schema: Schema) -> str:
    """Return the text of a schema's file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name, schema in schemas().items():
        (FOLDER / f"{name}.schema.json").write_text(as_text(schema), encoding="utf-8")
