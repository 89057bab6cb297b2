"""Schemas of provenance, and of what export, bump-version, list and prune print."""

from __future__ import annotations

from typing import Dict

from tools.schemas.accuracy import ACCURACY, ACCURACY_RECORD, FIGURES
from tools.schemas.messages import FAILURE, FORMAT, PROBLEMS, messages, output
from tools.schemas.parts import (
    Schema,
    by_name,
    count,
    described,
    document,
    list_of,
    mapping,
    nullable,
    number,
    one_of,
    record,
    reference,
    rows,
    text,
    texts,
    truth,
    word,
)
from tools.schemas.servers import SERVER

_TIME = text("Time in UTC, ISO 8601, as in 2026-01-31T12:00:00+00:00.", format="date-time")
_SHA256 = by_name(
    "SHA-256 of the files that identify the checkpoint, by name: the V2 index, or all V1 files.",
    {"type": "string", "pattern": "^[0-9a-f]{64}$"},
)
_CONTENT = text(
    "SHA-256 of a line for each file but this one, sorted by name: SHA-256 of the file, two spaces, name.",
    pattern="^[0-9a-f]{64}$",
)
_STEP = nullable({"description": "Global step; null where the checkpoint has none.", "type": "integer"})
_SCALARS = by_name("Values by name.", {"type": ["string", "number", "boolean"]})
DIFFERENCES = by_name(
    "Largest absolute difference of each output: signature -> output -> number.",
    {"type": "object", "additionalProperties": {"type": "number"}},
)
_SEARCH_PART = {
    "classes": count("Classes that were compared, the blank included."),
    "lines_compared": count("Complete lines that were compared."),
    "steps_compared": count("Steps that were compared."),
}
BEAM_SEARCH = rows(
    "How much of a slow beam search was compared; empty where all of it was.",
    {
        "request": text("Name of the request."),
        "node": text("Node of the beam search."),
        "beam_width": count("Width of the search.", 1),
        "classes": count("Classes, the blank included."),
        "lines": count("Lines of the request."),
        "lines_compared": count("Lines that were compared with all classes."),
        "steps": count("Steps of all lines."),
        "steps_compared": count("Steps that were compared with all classes."),
        "seconds": number("Time of the search, in seconds.", minimum=0),
    },
    {"with_few_classes": record("What was compared with the likeliest classes alone.", _SEARCH_PART)},
)
_NETWORK = {"name": text("Name of the checkpoint."), "step": _STEP, "sha256": _SHA256}
_CHECKPOINT = record(
    "The checkpoint that the version was made of.",
    {**_NETWORK, "format": text("V1, V2, Keras or GraphDef; several of them between commas.")},
    {"networks": by_name("The checkpoint of each network of a model of several.", mapping(_NETWORK, is_open=True))},
)
_REPUBLISHED = record(
    "How bump-version published the files again.",
    {
        "from": {
            "description": "Version of the same base directory, or the path of another SavedModel.",
            "type": ["integer", "string"],
        },
        "time": _TIME,
    },
)
_PARITY = nullable(
    record(
        "The comparison with the checkpoint; null without parity check.",
        {
            "answers": count("Answers that were compared."),
            "loader": text("What loaded the files."),
            "max_abs_difference": DIFFERENCES,
            "beam_search": BEAM_SEARCH,
        },
    )
)
ONEDNN = record(
    "The requests with oneDNN on, in a process of its own.",
    {
        "skipped": nullable(text("Why nothing was run.")),
        "answers": count("Requests that were run."),
        "max_abs_difference": DIFFERENCES,
        "ended": texts("Requests that ended the process."),
        "seconds": number("Time that it took, in seconds.", minimum=0),
    },
)
_LINES = nullable(
    record(
        "How much the answer for a picture depends on the others of its batch.",
        {
            "max_abs_difference": nullable(DIFFERENCES),
            "not_proven": texts("Where the graph does not show that answers are independent, a line for each."),
        },
    )
)


def _by_signature(description: str) -> Schema:
    return by_name(description, list_of({"type": "string"}))


_EXPORT: Dict[str, Schema] = {
    "format": FORMAT,
    "checkpoint": _CHECKPOINT,
    "weights": text("Which values are served: raw, ema for moving averages, mixed for several networks that differ."),
    "model": text("Name of the model."),
    "graph": record(
        "Where the graph came from.", {"builder": text("As --model or --graph names it."), "options": _SCALARS}
    ),
    "steps": record(
        "Options of the steps of signatures.",
        {
            "options": _SCALARS,
            "files": by_name("Name in assets of the file that an option names.", {"type": "string"}),
        },
    ),
    "edits": rows(
        "What was changed of the graph.",
        {"node": text("Node that was changed."), "kind": text("Kind of the change."), "text": text("For people.")},
    ),
    "signatures": texts("Names of the signatures."),
    "ctc_decoder": word(
        "Decoder in place of TensorFlow's beam search; stock where none was replaced.", "fast", "greedy", "stock"
    ),
    "replaced_nodes": texts("Nodes of beam searches that were replaced."),
    "folded_nodes": texts("Nodes of batch norms that were folded into convolutions."),
    "computed_once": texts("Variables that hold what was computed from the checkpoint's variables."),
    "hoisted_loops": texts(
        "Loops of recurrent layers, and kernels of unrolled ones, whose products with the inputs are computed before."
    ),
    "trimmed_loops": texts("Loops of recurrent layers without a second counter, or with masks behind them."),
    "cudnn_loops": texts("Loops of LSTMs that GPUs compute in cuDNN."),
    "bytes": record(
        "Sizes in bytes.",
        {"checkpoint": count("Of the checkpoint's files."), "version": count("Of the version's files.")},
    ),
    "parity": _PARITY,
    "onednn": nullable(ONEDNN),
    "lines": _LINES,
    "warmup": by_name("Number of warm-up requests for each signature.", {"type": "integer"}),
    "warmup_outputs": _by_signature("Outputs that warm-up requests name, for signatures where not all are."),
    "for_serving": nullable(text("Release of TF Serving that was checked for (--for-serving).")),
    "for_device": word("What its servers compute on (--for-device).", "cpu", "gpu"),
    "ckpt2saved": text("Version of ckpt2saved."),
    "tensorflow": text("Version of TensorFlow."),
    "git_commit": nullable(text("Commit of the working directory of the export; null outside of a repository.")),
    "time": _TIME,
    "without_batch": _by_signature("Inputs and outputs of signatures that do not have the batch first."),
}


def provenance_schema() -> Schema:
    """Return the schema of assets.extra/ckpt2saved.json."""
    exported = mapping(
        {**_EXPORT, "accuracy": ACCURACY_RECORD},
        {"content_sha256": _CONTENT, "republished": _REPUBLISHED},
        is_open=True,
    )
    other = mapping({"format": FORMAT, "republished": _REPUBLISHED}, {"content_sha256": _CONTENT}, is_open=True)
    return document(
        "Where a version comes from: assets.extra/ckpt2saved.json in each version.",
        "Written by export, and by bump-version for a SavedModel of another tool, which then has only `republished`.",
        one_of(reference("exported"), reference("published")),
        {
            "exported": described("A version that export made.", exported),
            "published": described("A SavedModel of another tool that bump-version published.", other),
        },
    )


_CANDIDATES = {
    "candidates": rows(
        "With --select best: the checkpoints of the directory.",
        {
            "checkpoint": text("Prefix of the checkpoint."),
            "step": _STEP,
            "figures": nullable(record("What it read; null where it was not exported.", FIGURES)),
            "error": nullable(text("Why it was not exported.")),
        },
    ),
    "selected": text("With --select best: the checkpoint that was exported."),
}
_DRY_RUN = truth("Whether nothing was published (--dry-run).")
_WAIT = {"server": described("With --wait-for: the version on the server.", reference("server"))}


PUBLISHED: Dict[str, Schema] = {
    "path": text("The version's directory; with dry_run the one that would be published."),
    "dry_run": _DRY_RUN,
    "unchanged": truth("Whether path is the newest version, which has the same files (--skip-unchanged)."),
    **_EXPORT,
    "accuracy": nullable(
        described("How the files read the labelled pictures; null without --lines.", reference("accuracy"))
    ),
}
MORE_PUBLISHED = {**_CANDIDATES, **_WAIT, "content_sha256": _CONTENT, "republished": _REPUBLISHED}


def export_schema() -> Schema:
    """Return the schema of what export prints."""
    refused = mapping(
        {
            **FAILURE["properties"],
            "path": {"description": "Nothing was published.", "type": "null"},
            "dry_run": _DRY_RUN,
            "accuracy": reference("accuracy"),
        },
        _CANDIDATES,
        is_open=True,
    )
    return output(
        "export",
        "What export prints: the published version with its provenance.",
        one_of(reference("published"), reference("inaccurate")),
        {
            "published": record("The version that was published.", PUBLISHED, MORE_PUBLISHED),
            "inaccurate": described("The text is read worse than is allowed; nothing was published.", refused),
            "accuracy": ACCURACY,
            "server": SERVER,
        },
    )


def bump_version_schema() -> Schema:
    """Return the schema of what bump-version prints."""
    return output(
        "bump-version",
        "What bump-version prints: the published version.",
        record(
            "The version that was published.",
            {
                "path": text("The version's directory; with dry_run the one that would be published."),
                "version": count("Number of the version."),
                "from": _REPUBLISHED["properties"]["from"],
                "dry_run": _DRY_RUN,
                "format": FORMAT,
            },
            _WAIT,
        ),
        {"server": SERVER},
    )


def list_schema() -> Schema:
    """Return the schema of what list prints."""
    return output(
        "list",
        "What list prints: the versions of a model, newest first.",
        record(
            "The versions of a base directory.",
            {
                "versions": rows(
                    "Versions, newest first.",
                    {
                        "version": {"description": "Number of the version.", "type": "integer"},
                        "path": text("Its directory."),
                        "bytes": count("Size of its files, in bytes."),
                        "modified": text("Time of the last change, ISO 8601, with the offset from UTC."),
                        "checkpoint": nullable(text("Name of the checkpoint; null if it is not recorded.")),
                        "step": _STEP,
                        "republished_from": nullable(_REPUBLISHED["properties"]["from"]),
                        **PROBLEMS,
                        "duplicate_of": nullable(text("Directory of the same number that TF Serving loads instead.")),
                    },
                ),
                "ignored": rows(
                    "Directories that TF Serving ignores.",
                    {"path": text("The directory."), "reason": text("Why its name is no version number.")},
                ),
                "format": FORMAT,
            },
        ),
    )


def diff_schema() -> Schema:
    """Return the schema of what diff prints."""
    return output(
        "diff",
        "What diff prints: how a SavedModel differs from another one.",
        record(
            "The differences.",
            {
                "old": text("Directory of the SavedModel that clients know."),
                "new": text("Directory of the other one."),
                "same": truth("Whether signatures, graph, variables and files have the same content."),
                **messages("problem", "What breaks clients of the old one"),
                **messages("note", "Other differences"),
                "format": FORMAT,
            },
        ),
    )


def prune_schema() -> Schema:
    """Return the schema of what prune prints."""
    deleted = texts("Directories that were deleted; with dry_run those that would be.")
    return output(
        "prune",
        "What prune prints: the deleted versions.",
        record(
            "The deleted versions.",
            {
                "deleted": deleted,
                "dry_run": truth("Whether nothing was deleted (--dry-run)."),
                "format": FORMAT,
            },
            {
                "server": record(
                    "With --server: what the server holds, and is kept.",
                    {
                        "address": text("Address of the server."),
                        "versions": by_name("State of each version.", {"type": "string"}),
                    },
                )
            },
        ),
        more_of_failure={"deleted": deleted},
    )
