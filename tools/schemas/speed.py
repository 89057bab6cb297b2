"""Schema of what bench served prints."""

from __future__ import annotations

from typing import Dict

from ckpt2saved.graph.groups import GROUPS
from ckpt2saved.verification.speed.target import LOADER, SERVER
from tools.schemas.messages import FORMAT, output
from tools.schemas.parts import (
    Schema,
    by_name,
    count,
    described,
    list_of,
    mapping,
    nullable,
    number,
    record,
    rows,
    text,
    truth,
    word,
)

_POINT: Dict[str, Schema] = {
    "concurrency": count("Requests at a time; with a rate the most at a time.", 1),
    "batch": count("Items of each request.", 1),
    "rate": nullable(number("Planned requests per second; null: each client sends its next one after an answer.")),
}


def _seconds(percent: str) -> Schema:
    about = f"Seconds within which {percent} of the answered requests were answered; null: none was."
    return nullable(number(about, minimum=0))


_ROW: Dict[str, Schema] = {
    **_POINT,
    "widths": text("Widths of the pictures in pixels; empty where the requests have none."),
    "seconds": number("Measured time in seconds.", minimum=0),
    "requests": count("Requests that ended, failed ones included."),
    "lines": count("Items of the requests that were answered."),
    "failures": by_name("Failed requests by kind.", count("Requests.", 1)),
    "p50": _seconds("half"),
    "p90": _seconds("90 %"),
    "p99": _seconds("99 %"),
    "requests_per_second": number("Answered requests per second.", minimum=0),
    "lines_per_second": number("Items of answered requests per second.", minimum=0),
    "bytes_sent": count("Bytes of the bodies of all requests."),
    "bytes_received": count("Bytes of the bodies of all answers."),
    "client_cpu": number("CPU seconds of this client for each second.", minimum=0),
    "stable": truth("Whether the p99 of the last three windows agree within the tolerance."),
}
_BATCHING = mapping(
    {
        "max_batch_size": count("Items of a batch at most.", 1),
        "timeout_micros": count("Microseconds that a batch waits for more requests."),
        "pad_inputs": truth("Whether inputs of different sizes are padded."),
        "equal_shapes": truth("Whether all requests have equal shapes."),
        "threads": nullable(count("Batches at a time; null: as many as CPUs.", 1)),
        "allowed_batch_sizes": described("Sizes that a batch is filled up to.", list_of({"type": "integer"})),
    },
    is_open=True,
)
_SETTINGS = record(
    "Settings of the process that answers; null where unknown, as of a server.",
    {
        "intra_op": nullable(count("Threads that compute one op; 0: as many as CPUs.")),
        "inter_op": nullable(count("Ops that run at the same time; 0: as many as CPUs.")),
        "onednn": nullable(truth("Whether oneDNN is on.")),
        "batching": nullable(described("Batching.", _BATCHING)),
        "mixed_precision": nullable(text("bfloat16.")),
    },
)


_PROFILE: Dict[str, Schema] = {
    "batch": count("Items of the request.", 1),
    "runs": count("Runs of the request with step statistics.", 1),
    "seconds": number("Median of as many runs without them.", minimum=0),
    "traced_seconds": number("Median of the runs with step statistics, which take time.", minimum=0),
    "idle_seconds": number("Seconds of a run without them in which no op runs.", minimum=0),
    "groups": rows(
        "The time of groups of nodes in one run: the sum over their ops, of which some run at the same time.",
        {
            "group": word("The group.", *GROUPS),
            "seconds": number("Seconds of one run.", minimum=0),
            "share": number("Share of the time of all ops.", minimum=0, maximum=1),
            "nodes": count("Nodes that ran.", 1),
            "runs": number(
                "Runs of these nodes in one run of the request: those of a loop run at each step.", minimum=0
            ),
        },
    ),
    "ops": rows(
        "The ops that take the most time.",
        {
            "op": text("The op, as TensorFlow's optimizer has it."),
            "group": word("The group.", *GROUPS),
            "seconds": number("Seconds of one run.", minimum=0),
            "runs": number("Runs of its nodes.", minimum=0),
        },
    ),
}


def _ratio(what: str) -> Schema:
    return record(
        f"{what} of the second target divided by that of the first.",
        {
            "ratio": number("The ratio.", minimum=0),
            "low": number("Lower end of the confidence interval.", minimum=0),
            "high": number("Upper end of the confidence interval.", minimum=0),
        },
    )


def served_schema() -> Schema:
    """Return the schema of what bench served prints."""
    ratios = {
        "p50": _ratio("Median latency"),
        "p99": _ratio("99th percentile of the latency"),
        "requests_per_second": _ratio("Requests per second"),
    }
    comparison = record(
        "Two targets, measured in turns; null unless there are two.",
        {
            "first": text("Name of the first target."),
            "second": text("Name of the second target."),
            "confidence": number("Level of the confidence intervals."),
            "rows": rows("Each load; without ratios if one target has answered nothing.", _POINT, ratios),
        },
    )
    target = {
        "name": text("URL or path."),
        "driver": word("server: a running server; loader: the C++ loader in a process of its own.", SERVER, LOADER),
        "model": text("Name of the model."),
        "version": nullable(count("Version that answered; null: unknown.")),
        "signature": text("Signature that the requests were for."),
        "settings": _SETTINGS,
        "gpus": nullable(count("GPUs that the process computes on; null: unknown, as of a server.")),
        "rows": rows("Each load.", _ROW),
    }
    profile = {"profile": rows("Where the time of one request at a time goes, with --profile.", _PROFILE)}
    result = record(
        "Latency and throughput.",
        {
            "machine": record(
                "The machine of the client.",
                {
                    "cpus": number("CPUs that the client may use, a fraction in a container with a limit."),
                    "machine": text("Operating system and processor."),
                    "python": text("Version of Python."),
                },
            ),
            "targets": rows("What was measured.", target, profile),
            "comparison": nullable(comparison),
            "format": FORMAT,
        },
    )
    return output("bench served", "What bench served prints: latency and throughput under load.", result)
