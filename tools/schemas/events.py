"""Schemas of the lines that watch and sync print: an event on each."""

from __future__ import annotations

from typing import Dict, Mapping, Sequence

from tools.schemas.messages import DEFINITIONS, FAILURE, FORMAT
from tools.schemas.parts import Schema, described, document, one_of, record, reference

ERROR = {key: FAILURE["properties"][key] for key in ("error", "problems", "problem_details")}


def event(name: str, what: str, keys: Mapping[str, Schema], optional: Mapping[str, Schema] = {}) -> Schema:
    """Return the schema of a kind of event."""
    kind = {"event": {"description": "What happened.", "const": name}}
    return record(what, {**kind, **keys, "format": FORMAT}, optional)


def lines_of_events(command: str, events: Sequence[Schema], definitions: Mapping[str, Schema]) -> Schema:
    """Return the schema of a line that a command prints."""
    names = [event["properties"]["event"]["const"] for event in events]
    found: Dict[str, Schema] = {**DEFINITIONS, **definitions}
    found["failure"] = described(f"Why the {command} could not begin.", {**FAILURE})
    found.update(zip(names, events))
    return document(
        f"What {command} prints: an event on each line.",
        f"Printed on stdout by `ckpt2saved {command} --json`, in UTF-8: an object on each line, as it happens. A"
        f" {command} that cannot begin prints its failure, on several lines.",
        one_of(*(reference(name) for name in names), reference("failure")),
        found,
    )
