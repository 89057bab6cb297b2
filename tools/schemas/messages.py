"""Schemas of problems and notes, and of what a command prints that fails."""

from __future__ import annotations

from typing import Dict, Mapping

from ckpt2saved.errors.codes import CODES
from tools.schemas.parts import (
    Schema,
    count,
    described,
    document,
    enumeration,
    list_of,
    one_of,
    record,
    reference,
    rows,
    text,
    texts,
)

FORMAT: Schema = {"description": "Format of the output. New keys may be added to format 1.", "const": 1}
DEFINITIONS: Dict[str, Schema] = {
    "code": described(
        "What it is about. Codes stay the same from release to release; later releases may have more of them.",
        {"type": "string", **enumeration(sorted(CODES))},
    ),
    "detail": record(
        "A problem or note, for programs.",
        {
            "code": reference("code"),
            "where": text("Node, tensor, file, signature or option; empty where it is about the whole."),
            "text": text("The line for people. It may become clearer in later releases."),
            "remedy": text("What to do; empty where there is nothing."),
        },
    ),
    "error": record(
        "Why the command failed.",
        {
            "message": text("The message for people, without its problems."),
            "exit_code": count(
                "Exit code of the command: 1 could not be done, 2 wrong command line, 3 the answer is no.", 1
            ),
        },
    ),
}


def messages(name: str, what: str) -> Dict[str, Schema]:
    """Return the keys of a list of messages: `problem` gives `problems` and `problem_details`."""
    return {
        f"{name}s": texts(f"{what}, a line for each."),
        f"{name}_details": details(what),
    }


def details(what: str) -> Schema:
    """Return the schema of a list of messages for programs."""
    return described(f"{what}, for programs.", list_of(reference("detail")))


PROBLEMS = messages("problem", "Problems")
NOTES = messages("note", "Notes")
_FAILURE = {"error": reference("error"), **PROBLEMS, "format": FORMAT}
FAILURE = record("What a command prints that fails.", _FAILURE)


def failure_schema() -> Schema:
    """Return the schema of what any command prints that fails before it has a result."""
    title = "What every command prints with --json when it fails before it has a result."
    return document(title, "The exit code is that of the command without --json.", FAILURE, DEFINITIONS)


def output(
    command: str,
    title: str,
    results: Schema,
    definitions: Mapping[str, Schema] = {},
    more_of_failure: Mapping[str, Schema] = {},
) -> Schema:
    """Return the schema of what a command prints: one of its results, or its failure, which may have more keys."""
    failure = record("What a command prints that fails.", _FAILURE, more_of_failure)
    found = {**DEFINITIONS, **definitions, "failure": failure, "result": results}
    schema = one_of(reference("result"), reference("failure"))
    text = f"Printed on stdout by `ckpt2saved {command} --json`, in UTF-8."
    return document(title, text, schema, found)


def explain_schema() -> Schema:
    """Return the schema of what `explain` prints."""
    codes = rows(
        "Each code that was asked for; all of them if none was.",
        {
            "code": reference("code"),
            "meaning": text("What it means, in a sentence."),
            "text": text("The meaning, a message as an example, and what to do; paragraphs of plain text."),
        },
    )
    found = record("The explanations.", {"codes": codes, "format": FORMAT})
    return output("explain", "What `ckpt2saved explain --json` prints.", found)


def names_schema() -> Schema:
    """Return the schema of the list of schemas."""
    schemas = rows(
        "The schemas, by name.",
        {"name": text("The NAME of `ckpt2saved schema NAME`."), "title": text("What it is the schema of.")},
    )
    found = record("The schemas that there are.", {"schemas": schemas, "format": FORMAT})
    return output("schema", "What `ckpt2saved schema --json` prints without a name.", found)
