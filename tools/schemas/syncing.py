"""The schema of the lines that sync prints."""

from __future__ import annotations

from tools.schemas.events import ERROR, event, lines_of_events
from tools.schemas.messages import PROBLEMS
from tools.schemas.parts import Schema, count, nullable, number, rows, text, texts, word

_MODEL = {"model": text("Name of the model, which is that of its base directory.")}
_URL = {"url": text("The version in the source.")}
_NUMBER = {"version": count("Number of the version.")}

_EVENTS = (
    event(
        "syncing",
        "The sync begins.",
        {
            "models": rows(
                "The models.",
                {
                    **_MODEL,
                    "url": text("The source of its versions."),
                    "path": text("The base directory on this machine."),
                },
            ),
            "endpoint": nullable(text("URL of the health endpoint (--listen).")),
        },
    ),
    event("pulling", "The download of a version begins.", {**_MODEL, **_URL, **_NUMBER}),
    event(
        "published",
        "A version was published in the base directory.",
        {
            **_MODEL,
            **_URL,
            "path": text("Directory of the version."),
            **_NUMBER,
            "bytes": count("Size of its files."),
            "seconds": number("Time of the download, in seconds.", minimum=0),
        },
    ),
    event("pruned", "Old versions were deleted (--keep).", {**_MODEL, "deleted": texts("Their directories.")}),
    event("ahead", "The base directory has a newer version than the source.", {**_MODEL, **PROBLEMS}),
    event("empty", "The source has no version.", {**_MODEL, **PROBLEMS}),
    event("incomplete", "A version of the source lacks files.", {**_MODEL, **PROBLEMS}),
    event(
        "failed",
        "Something could not be done.",
        {
            **_MODEL,
            "kind": word(
                "source: it can't be read; damaged: the files of a version are not those that were published, or can't"
                " be served; local: the base directory can't be written; prune: old versions can't be deleted.",
                "source",
                "damaged",
                "local",
                "prune",
            ),
            "version": nullable(count("Number of the version; null if it is not about one.")),
            "retry_in": nullable(number("Time until the next try, in seconds; null if there is none.", minimum=0)),
            **ERROR,
        },
    ),
    event(
        "stopped",
        "The sync ends.",
        {
            "reason": word("Why.", "behind", "error", "once", "ready", "signal"),
            "exit_code": count("Exit code of the command."),
        },
        ERROR,
    ),
)


def sync_schema() -> Schema:
    """Return the schema of a line that sync prints."""
    return lines_of_events("sync", _EVENTS, {})
