"""The schema of the lines that watch prints."""

from __future__ import annotations

from tools.schemas.accuracy import ACCURACY
from tools.schemas.events import ERROR, event, lines_of_events
from tools.schemas.exports import MORE_PUBLISHED, PUBLISHED
from tools.schemas.parts import (
    Schema,
    count,
    described,
    nullable,
    number,
    reference,
    text,
    texts,
    word,
)
from tools.schemas.servers import SERVER

_CHECKPOINT = {"checkpoint": text("Prefix of the checkpoint; of several the newest.")}
_PATH = {"path": text("Directory of the version.")}
_ACCURACY = {"accuracy": reference("accuracy")}


_EVENTS = (
    event(
        "watching",
        "The watch begins.",
        {
            "run_dir": text("Directory of the training."),
            "export_dir": text("Base directory of the versions."),
            "select": word("Which of several new checkpoints are published.", "latest", "all", "best"),
        },
    ),
    event(
        "exporting",
        "An export begins.",
        {"checkpoints": texts("Prefixes of the checkpoints, of which one is published.")},
    ),
    event("published", "A version was published: the keys that export prints.", PUBLISHED, MORE_PUBLISHED),
    event(
        "live",
        "The server of --wait-for serves the version.",
        {**_PATH, "server": described("The version there.", reference("server"))},
    ),
    event("not-live", "The server of --wait-for does not serve the published version.", {**_PATH, **ERROR}),
    event(
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
    event(
        "incomplete",
        "A checkpoint has been incomplete for a while.",
        {**_CHECKPOINT, "reason": text("What is missing.")},
    ),
    event("vanished", "A checkpoint was deleted or replaced while it was exported.", _CHECKPOINT),
    event("refused", "A checkpoint cannot be exported, and is not tried again.", {**_CHECKPOINT, **ERROR}, _ACCURACY),
    event(
        "failed",
        "An export or a prune failed for another reason than the checkpoint.",
        {
            "checkpoint": nullable(text("Prefix of the checkpoint; null for a prune.")),
            "retry_in": nullable(number("Time until the next try, in seconds; null if there is none.", minimum=0)),
            **ERROR,
        },
        _ACCURACY,
    ),
    event("pruned", "Old versions were deleted (--keep).", {"deleted": texts("Their directories.")}),
    event(
        "stopped",
        "The watch ends.",
        {
            "reason": word("Why.", "error", "idle", "once", "signal", "step"),
            "exit_code": count("Exit code of the command."),
        },
        ERROR,
    ),
)


def watch_schema() -> Schema:
    """Return the schema of a line that watch prints."""
    return lines_of_events("watch", _EVENTS, {"accuracy": ACCURACY, "server": SERVER})
