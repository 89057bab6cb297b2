"""The files of a version as the target of a measurement, loaded by the C++ loader in a process of their own."""

from __future__ import annotations

import contextlib
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Sequence

from ckpt2saved.answers.profile import Profile
from ckpt2saved.answers.timed_process import SessionSettings, timed_process
from ckpt2saved.requests.gathering import recorded_requests
from ckpt2saved.requests.request import Answers, Request
from ckpt2saved.requests.warm_up.marks import is_marked
from ckpt2saved.server_config.cpus import available_cpus
from ckpt2saved.server_config.settings import BFLOAT16, ServerSettings
from ckpt2saved.signature.tensors import Signature
from ckpt2saved.verification.speed.target import LOADER, Answered, Target, lines_of
from ckpt2saved.versions.base import parse_version


class LoaderTarget(Target):
    """A version in a process with a server's threads, oneDNN and mixed precision; it has no batching.

    Latencies are those of TF_SessionRun: nothing is encoded or sent.
    """

    driver = LOADER

    def __init__(self, directory: Path, signature: Signature, settings: ServerSettings, *, gpu: bool = False) -> None:
        """Threads that are None are one for each CPU; raises NotServable, TensorFlowError."""
        absolute = Path(os.path.abspath(str(directory)))
        cpus = math.ceil(available_cpus())
        settings = replace(
            settings, intra_op=settings.intra_op or cpus, inter_op=settings.inter_op or cpus, batching=None
        )
        self.name = str(directory)
        self.model = absolute.parent.name
        self.version = parse_version(absolute.name)
        self.signature = signature
        self._directory = directory
        self._stack = contextlib.ExitStack()
        session = SessionSettings(settings.intra_op, settings.inter_op, settings.mixed_precision == BFLOAT16, gpu=gpu)
        self._process = self._stack.enter_context(timed_process(directory, session, settings.environment()))
        self.gpus = self._process.loaded.gpus
        self.tensorflow = self._process.loaded.tensorflow
        self.settings = replace(settings, onednn=self._process.loaded.onednn)

    def prepare(self, requests: Sequence[Request]) -> None:
        """Send the requests to the process, which keeps them."""
        for request in requests:
            self._process.prepare(request)

    def predict(self, request: Request) -> Answered:
        timed = self._process.run(request)
        if self._process.has_ended:
            raise self._process.end_error()
        return Answered(
            seconds=timed.seconds,
            lines=lines_of(request),
            bytes_sent=timed.bytes_in,
            bytes_received=timed.bytes_out,
            failure=timed.failure,
        )

    def answers(self, request: Request) -> Answers:
        return self._process.answers(request)

    def recorded(self) -> Sequence[Request]:
        found = [one for one in recorded_requests(self._directory) if one.signature == self.signature.name]
        return [one for one in found if not is_marked(one.inputs)]

    def profile(self, request: Request, runs: int) -> Profile:
        """Where the time of a request goes; raises InvalidRequest or NotServable."""
        return self._process.profile(request, runs)

    def close(self) -> None:
        self._stack.close()
