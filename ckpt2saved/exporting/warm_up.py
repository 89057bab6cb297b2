"""Write the warm-up file of a staged version, and read it back."""

from __future__ import annotations

from pathlib import Path
from typing import List, Sequence

from ckpt2saved.errors import NotServable
from ckpt2saved.files.write_errors import error_in
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.requests.request import Request
from ckpt2saved.requests.warm_up.file import as_prediction_log, read_warm_up_requests
from ckpt2saved.saved_model.judgement import WARMUP_FILE


def write_warm_up(directory: Path, requests: Sequence[Request], model: str) -> None:
    """Write the warm-up file of the version in `directory`; deterministic."""
    path = directory / WARMUP_FILE
    path.parent.mkdir(exist_ok=True)
    try:
        with tf.python_io.TFRecordWriter(str(path)) as writer:
            for request in requests:
                writer.write(as_prediction_log(request, model))
    except tf.errors.OpError as error:
        disk = error_in(error.message)
        if disk is None:
            raise
        raise disk from error


def read_staged_requests(directory: Path) -> List[Request]:
    """Read the warm-up file of `directory` and compare its checksums; raises NotServable if they are wrong."""
    path = directory / WARMUP_FILE
    try:
        count = sum(1 for _ in tf.python_io.tf_record_iterator(str(path)))
    except tf.errors.DataLossError as error:
        raise NotServable(f"{path}: {error.message}; the disk?") from error
    requests = read_warm_up_requests(directory)
    if len(requests) != count:
        raise NotServable(f"{path}: {len(requests)} records found, {count} expected")
    return requests
