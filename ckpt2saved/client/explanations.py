"""Explanations and remedies for error messages of TF Serving."""

from __future__ import annotations

import re
from typing import Optional

PUBLISH_HIGHER = (
    "publish a higher number (ckpt2saved export, or bump-version to roll back), as a server that has an older version "
    "loaded does not try this one again"
)

# Errors of TF Serving's batching (batching_session.cc).
_OTHER_SIZES = r"from different tasks have different shapes"
_TOO_LONG = r"Task size \d+ is larger than maximum input batch size (\d+)"
_FULL_QUEUE = r"batch scheduling queue .*full"
_UNSPLIT = r"Batched output tensor|Batching (session )?Run\(\)"

_EXPLANATIONS = (
    (
        _UNSPLIT,
        "the server runs with --enable_batching, which splits every output along its first dimension, and an output of "
        "this signature can't be split: use a signature with dense outputs (of the crnn: dense), or serve it without "
        "batching",
    ),
    (
        _OTHER_SIZES,
        "the server runs with --enable_batching, and a request of another size was in the same batch, so that "
        "the whole batch fails: let clients send requests of equal size, or set pad_variable_length_inputs in the "
        "batching parameters of the server, which changes some answers",
    ),
    (
        _TOO_LONG,
        "the server runs with --enable_batching, and the request has more lines than max_batch_size in its batching "
        "parameters: split the request, or raise max_batch_size",
    ),
    (
        _FULL_QUEUE,
        "more requests wait than the server takes (max_enqueued_batches in its batching parameters): send fewer at a "
        "time, or raise it",
    ),
    (
        r"[Uu]ninitialized value|Error while reading resource variable|Could not find variable|"
        r"was uninitialized|not initialized",
        "the server loaded the version before its variables were complete: it was copied into place, not renamed; "
        + PUBLISH_HIGHER,
    ),
    (
        r"Read less bytes than requested|too short to be an sstable|not an sstable|[Cc]hecksum does not match|"
        r"variables\.(index|data)[^ ;]*; No such file or directory|Failed to find any matching files for .*variables|"
        r"[Cc]an't parse .*saved_model\.pb|Failed to parse .*saved_model\.pb|truncated (record|block)",
        "a file of the version is missing, cut short or damaged on the server: it was copied into place, and the copy "
        "was not complete; copy it under a name that is not a number, and rename it at the end; " + PUBLISH_HIGHER,
    ),
    (
        r"Serving signature (name|key)?:? ?\".*\" not found|input size does not match signature|"
        r"input tensor alias not found|output tensor alias not found",
        "the server has other files under this number: another directory is mounted, or the version was overwritten "
        "after it was loaded",
    ),
    (
        r"Tensor :0, specified in either feed_devices or fetch_devices was not found",
        "an output has no tensor name, for example a SparseTensor: serve its indices, values and dense_shape",
    ),
    (
        r"Op type not registered|No OpKernel was registered|not in Op<|GraphDef-interpreting binary",
        "this server's TensorFlow is older than the one that wrote the graph, or lacks its op: use a newer server, or "
        "export with a TensorFlow that fits the server",
    ),
    (
        r"Servable not found for request",
        "the server has unloaded the version: a newer one superseded it, or its directory was deleted",
    ),
    (
        r"meta graph def matching supplied tags",
        "the SavedModel has no meta graph whose only tag is serve",
    ),
    (
        r"Cannot assign a device",
        "a node is tied to a device that the server lacks: export with clear_devices",
    ),
    (
        r"inconsistent batch size|no shape information",
        "in row format (`instances`) the REST API needs an equal first dimension in all outputs; use the column format "
        "(`inputs`), or gRPC",
    ),
    (
        r"warmup",
        "the requests in assets.extra/tf_serving_warmup_requests fail on this server, which therefore does not load "
        "the version",
    ),
    (
        r"Permission denied",
        "the server's user may not read the version's files: they need the modes 755 and 644",
    ),
)


def is_of_batching(message: str) -> bool:
    """Whether only a server with --enable_batching reports this error."""
    return re.search("|".join((_UNSPLIT, _OTHER_SIZES, _TOO_LONG)), message) is not None


def is_of_other_sizes(message: str) -> bool:
    """Whether requests of different shapes were in one batch, which is no fault of the version."""
    return re.search(_OTHER_SIZES, message) is not None


def is_too_long(message: str) -> bool:
    """Whether the request has more lines than the server's max_batch_size."""
    return re.search(_TOO_LONG, message) is not None


def largest_batch(message: str) -> Optional[int]:
    """The server's max_batch_size, if the message says that a request has more lines."""
    match = re.search(_TOO_LONG, message)
    return int(match.group(1)) if match and len(match.group(1)) < 10 else None


def is_of_full_queue(message: str) -> bool:
    """Whether more requests wait than the server takes."""
    return re.search(_FULL_QUEUE, message) is not None


def is_unexplained(message: str) -> bool:
    """Whether there is no explanation for the message."""
    return not any(re.search(pattern, message) for pattern, _ in _EXPLANATIONS)


def explained(message: str) -> str:
    """The message of the server, with its explanation if there is one."""
    for pattern, explanation in _EXPLANATIONS:
        if re.search(pattern, message):
            return f"{message.strip().rstrip('.')} ({explanation})"
    return message.strip().rstrip(".")
