"""Writes the JSON Schemas that `ckpt2saved schema` shows: `python -m tools.make_schemas`."""

from __future__ import annotations

import json
from typing import Dict

from ckpt2saved.cli.schemas import FOLDER
from tools.schemas.accuracy import lines_schema, pages_schema
from tools.schemas.exports import (
    bump_version_schema,
    diff_schema,
    export_schema,
    list_schema,
    provenance_schema,
    prune_schema,
)
from tools.schemas.inspections import bench_schema, inspect_schema, predict_schema, verify_schema
from tools.schemas.messages import explain_schema, failure_schema, names_schema
from tools.schemas.parts import Schema
from tools.schemas.servers import doctor_schema, serving_config_schema
from tools.schemas.signature import signature_schema
from tools.schemas.speed import served_schema
from tools.schemas.syncing import sync_schema
from tools.schemas.watching import watch_schema


def schemas() -> Dict[str, Schema]:
    """Return each schema by its name."""
    return {
        "bench-ctc": bench_schema(),
        "bench-served": served_schema(),
        "bump-version": bump_version_schema(),
        "diff": diff_schema(),
        "doctor": doctor_schema(),
        "error": failure_schema(),
        "evaluate-lines": lines_schema(),
        "evaluate-pages": pages_schema(),
        "explain": explain_schema(),
        "export": export_schema(),
        "inspect": inspect_schema(),
        "list": list_schema(),
        "predict": predict_schema(),
        "provenance": provenance_schema(),
        "prune": prune_schema(),
        "schema": names_schema(),
        "serving-config": serving_config_schema(),
        "signature": signature_schema(),
        "sync": sync_schema(),
        "verify": verify_schema(),
        "watch": watch_schema(),
    }


def as_text(schema: Schema) -> str:
    """Return the text of a schema's file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name, schema in schemas().items():
        (FOLDER / f"{name}.schema.json").write_text(as_text(schema), encoding="utf-8")
