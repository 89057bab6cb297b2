"""The schema of the lines that watch prints."""

from __future__ import annotations

from typing import Dict, Mapping

from tools.schemas.accuracy import ACCURACY
from tools.schemas.exports import MORE_PUBLISHED, PUBLISHED
from tools.schemas.messages import DEFINITIONS, FAILURE, FORMAT
from tools.schemas.parts import (
    Schema,
    count,
    described,
    document,
    nullable,
    number,
    one_of,
    record,
    reference,
    text,
    texts,
    word,
)
from tools.schemas.servers import SERVER

_FAILURE = {key: FAILURE["properties"][key] for key in ("error", "problems", "problem_details")}
_CHECKPOINT = {"checkpoint": text("Prefix of the checkpoint; of several the newest.")}
_PATH = {"path": text("Directory of the version.")}
_ACCURACY = {"accuracy": reference("accuracy")}


def _event(name: str, what: str, keys: Mapping[str, Schema], optional: Mapping[str, Schema] = {}) -> Schema:
    kind = {"event": {"description": "What happened.", "const": name}}
    return record(what, {**kind, **keys, "format": FORMAT}, optional)


_EVENTS = (
    _event(
        "watching",
        "The watch begins.",
        {
            "run_dir": text("Directory of the training."),
            "export_dir": text("Base directory of the versions."),
            "select": word("Which of several new checkpoints are published.", "latest", "all", "best"),
        },
    ),
    _event(
        "exporting",
        "An export begins.",
        {"checkpoints": texts("Prefixes of the checkpoints, of which one is published.")},
    ),
    _event("published", "A version was published: the keys that export prints.", PUBLISHED, MORE_PUBLISHED),
    _event(
        "live",
        "The server of --wait-for serves the version.",
        {**_PATH, "server": described("The version there.", reference("server"))},
    ),
    _event("not-live", "The server of --wait-for does not serve the published version.", {**_PATH, **_FAILURE}),
    _event(
        "skipped",
        "A checkpoint is not published.",
        {
            **_CHECKPOINT,
            "reason": word(
                "newer: a newer one is there; not-best: another one is read better; not-exported: it cannot be;"
                " published: a version has it.",
                "newer",
                "not-best",
                "not-exported",
                "published",
            ),
        },
    ),
    _event(
        "incomplete",
        "A checkpoint has been incomplete for a while.",
        {**_CHECKPOINT, "reason": text("What is missing.")},
    ),
    _event("vanished", "A checkpoint was deleted or replaced while it was exported.", _CHECKPOINT),
    _event(
        "refused", "A checkpoint cannot be exported, and is not tried again.", {**_CHECKPOINT, **_FAILURE}, _ACCURACY
    ),
    _event(
        "failed",
        "An export or a prune failed for another reason than the checkpoint.",
        {
            "checkpoint": nullable(text("Prefix of the checkpoint; null for a prune.")),
            "retry_in": nullable(number("Time until the next try, in seconds; null if there is none.", minimum=0)),
            **_FAILURE,
        },
        _ACCURACY,
    ),
    _event("pruned", "Old versions were deleted (--keep).", {"deleted": texts("Their directories.")}),
    _event(
        "stopped",
        "The watch ends.",
        {
            "reason": word("Why.", "error", "idle", "once", "signal", "step"),
            "exit_code": count("Exit code of the command."),
        },
        _FAILURE,
    ),
)


def watch_schema() -> Schema:
    """Return the schema of a line that watch prints."""
    names = [event["properties"]["event"]["const"] for event in _EVENTS]
    definitions: Dict[str, Schema] = {**DEFINITIONS, "accuracy": ACCURACY, "server": SERVER}
    definitions["failure"] = described("Why the watch could not begin.", {**FAILURE})
    definitions.update(zip(names, _EVENTS))
    return document(
        "What watch prints: an event on each line.",
        "Printed on stdout by `ckpt2saved watch --json`, in UTF-8: an object on each line, as it happens. A watch that"
        " cannot begin prints its failure, on several lines.",
        one_of(*(reference(name) for name in names), reference("failure")),
        definitions,
    )
