"""Batching parameters in a staged version, for a server with parameters of each model."""

from __future__ import annotations

from pathlib import Path
from typing import Mapping, Sequence

from ckpt2saved.errors import NotServable
from ckpt2saved.errors.problem import Problem
from ckpt2saved.requests.batching import without_batch_text
from ckpt2saved.requests.request import Request
from ckpt2saved.saved_model.reading import read_signatures
from ckpt2saved.server_config.version_batching import VersionBatching, check_warm_up
from ckpt2saved.versions.bump import BATCHING_FILE


def write_batching(
    stage: Path, batching: VersionBatching, requests: Sequence[Request], without_batch: Mapping[str, Sequence[str]]
) -> None:
    """Write the parameters into a stage whose warm-up requests are `requests`.

    `without_batch`: signature -> inputs and outputs that batching breaks. Raises WarmupError for a request that is too
    large, with which a server would not load the version, and NotServable if no signature can be batched.
    """
    check_warm_up(batching, requests)
    signatures = [one for one in read_signatures(stage).values() if not one.is_for_warmup]
    if all(one.name in without_batch for one in signatures if not one.name.startswith("__")):
        raise NotServable(
            f"--batching-params {batching.path}: no signature can be batched; leave it out",
            [Problem("no-batching", name, without_batch_text(keys)) for name, keys in without_batch.items()],
        )
    (stage / BATCHING_FILE).write_text(batching.text, encoding="utf-8")
