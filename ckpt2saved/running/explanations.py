"""What TF Serving's own error messages mean, and what to do about them."""

from __future__ import annotations

import re

PUBLISH_HIGHER = (
    "publish a higher number (ckpt2saved export, or bump-version to roll back), as a server that has an older version "
    "loaded does not try this one again"
)

_EXPLANATIONS = (
    (
        r"Batched output tensor|Batching (session )?Run\(\)|from different tasks have different shapes",
        "the server runs with --enable_batching, which cuts every answer apart by its first dimension, and this "
        "signature's can't be cut: ask for a dense signature (of the crnn: dense), or serve it without batching",
    ),
    (
        r"[Uu]ninitialized value|Error while reading resource variable|Could not find variable|"
        r"was uninitialized|not initialized",
        "the server loaded the version before its variables were there: it was copied into place, not renamed; "
        + PUBLISH_HIGHER,
    ),
    (
        r"Read less bytes than requested|too short to be an sstable|not an sstable|[Cc]hecksum does not match|"
        r"variables\.(index|data)[^ ;]*; No such file or directory|Failed to find any matching files for .*variables|"
        r"[Cc]an't parse .*saved_model\.pb|Failed to parse .*saved_model\.pb|truncated (record|block)",
        "a file of the version is missing, cut short or damaged where the server reads it: it was copied into place, "
        "and the copy was still going on, or broke off; copy under a name that is no number, rename it at the end; "
        + PUBLISH_HIGHER,
    ),
    (
        r"Serving signature (name|key)?:? ?\".*\" not found|input size does not match signature|"
        r"input tensor alias not found|output tensor alias not found",
        "the server has other files under this number than these: another directory is mounted, or the version was "
        "overwritten after it was loaded",
    ),
    (
        r"Tensor :0, specified in either feed_devices or fetch_devices was not found",
        "an output has no tensor name, as a SparseTensor bound whole: serve its indices, values and dense_shape",
    ),
    (
        r"Op type not registered|No OpKernel was registered|not in Op<|GraphDef-interpreting binary",
        "this server's TensorFlow is older than the one that wrote the graph, or lacks its op: take a newer server, or "
        "export with the TensorFlow that fits it",
    ),
    (
        r"Servable not found for request",
        "the server has unloaded the version since: a newer one took its place, or its directory went",
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
        "the REST API's rows need one first dimension in all outputs; ask in columns (`inputs`), or over gRPC",
    ),
    (
        r"warmup",
        "the requests in assets.extra/tf_serving_warmup_requests fail on this server, which keeps it from loading the "
        "version",
    ),
    (
        r"Permission denied",
        "the server's user may not read the version's files: they need the modes 755 and 644",
    ),
)


def explained(message: str) -> str:
    """The server's message, and what it means where that is known."""
    for pattern, explanation in _EXPLANATIONS:
        if re.search(pattern, message):
            return "{} ({})".format(message.strip().rstrip("."), explanation)
    return message.strip().rstrip(".")
