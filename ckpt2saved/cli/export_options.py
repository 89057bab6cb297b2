"""The options that `export` and `watch` have in common."""

from __future__ import annotations

from typing import Any, Callable, Optional

import click

from ckpt2saved.cli.accuracy_options import gate_options
from ckpt2saved.cli.graph_options import graph_options, search_options
from ckpt2saved.cli.help import Topic
from ckpt2saved.cli.options import (
    ParamType,
    PathType,
    PlaceType,
    batched_option,
    batching_params_option,
    compatible_option,
    for_device_option,
    gpu_option,
    model_name_option,
    option,
    probe_signature_option,
    timeout_option,
    wait_option,
)


class _WarmUpType(ParamType):
    """A number of requests, or the path of a file."""

    name = "n|file.npz|image"

    def convert(self, value: Any, param: Optional[click.Parameter], context: Optional[click.Context]) -> Any:
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
            return int(value)
        return PathType().convert(value, param, context)


_OPTIONS = (
    option(
        "--export-dir",
        "--output-dir",
        "-o",
        "export_dir",
        required=True,
        type=PlaceType(),
        help=(
            "Base directory of the model, in which the numbered versions are published; also s3://, gs:// or az://"
            " BUCKET/DIRECTORY."
        ),
        topic=Topic.PUBLISHING,
    ),
    graph_options,
    option(
        "--parity/--no-parity",
        default=True,
        show_default=True,
        help="Compare the answers of the staged files with those of the checkpoint before publishing.",
        topic=Topic.PROOF,
    ),
    option(
        "--with-onednn",
        is_flag=True,
        help=(
            "With --parity: also run the requests with oneDNN on, as stock images of TF Serving from 2.9 on do. verify "
            "does so by default."
        ),
        topic=Topic.PROOF,
    ),
    search_options,
    option(
        "--warmup",
        type=_WarmUpType(),
        multiple=True,
        metavar="N|FILE.npz|IMAGE",
        help=(
            "Warm-up requests, which the server answers before it serves the version: N random requests for each "
            "signature, a file of arrays named as the inputs, or an image. May be given several times. Default: 1."
        ),
        topic=Topic.WARM_UP,
    ),
    option(
        "--warmup-signature",
        "warmup_signatures",
        multiple=True,
        metavar="NAME",
        help=(
            "Write the warm-up requests for this signature. May be given several times. A server with "
            "--enable_batching fails to load the version if the signature cannot be used with batching. Default: "
            "requests that every server answers."
        ),
        topic=Topic.WARM_UP,
    ),
    option("--no-warmup", is_flag=True, help="Write no warm-up requests.", topic=Topic.WARM_UP),
    option(
        "--for-serving",
        metavar="VERSION",
        help="Refuse ops, attributes and kernels that this TF Serving release does not have: 1.14, or 2.19-gpu.",
        topic=Topic.PROOF,
    ),
    for_device_option,
    batching_params_option,
    compatible_option,
    option(
        "--no-fold",
        is_flag=True,
        help="Store the checkpoint's values: fold no batch norm, compute nothing at export.",
        topic=Topic.DECODER,
    ),
    gpu_option(Topic.PROOF),
    gate_options,
    wait_option,
    timeout_option,
    model_name_option,
    probe_signature_option,
    batched_option,
)


def export_options(function: Callable[..., None]) -> Callable[..., None]:
    """Decorator that adds the options."""
    for one in reversed(_OPTIONS):
        function = one(function)
    return function
