"""Write the warm-up file of a staged version, and read it back."""

from __future__ import annotations

from pathlib import Path
from typing import List, Sequence

from ckpt2saved.errors import NotServable
from ckpt2saved.files.write_errors import error_in
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.requests.request import Request
from ckpt2saved.requests.warm_up.file import as_prediction_log, read_warm_up_requests
from ckpt2saved.saved_model.judgement import EVERYTHING, WARMUP_FILE, judge_warmup


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
    """Read the warm-up file of `directory`, and compare its checksums; raises NotServable if it is damaged."""
    problems = judge_warmup(directory, EVERYTHING)
    if problems:
        raise NotServable(f"{directory}: the written warm-up requests are damaged; the disk?", problems)
    return read_warm_up_requests(directory)
