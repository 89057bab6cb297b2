"""Run requests with oneDNN on, in a process of its own, and compare the answers with those without it.

Stock images of TF Serving from 2.9 on have oneDNN on, unless TF_ENABLE_ONEDNN_OPTS is 0. With it sums have another
order, and some kernels end the process on a tensor of the wrong rank, where those without it refuse the request:
GetTensorDim of tensorflow/core/util/tensor_format.h has a CHECK.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from ckpt2saved.answers.comparison import OTHER_TENSORFLOW, Comparison, compare
from ckpt2saved.answers.timed_process import TimedProcess, timed_process
from ckpt2saved.errors import NotServable, TensorFlowError
from ckpt2saved.errors.problem import Note
from ckpt2saved.graph.devices import uses_gpus
from ckpt2saved.graph.tf1 import tf, uses_onednn
from ckpt2saved.requests.request import Answers, Request, with_bytes
from ckpt2saved.server_config.settings import ServerSettings

_OFF = "set TF_ENABLE_ONEDNN_OPTS=0 in the server's environment, as serving-config does"
_SERVER = (
    "a server of 2.9 or later, whose default is oneDNN on, ends with it, and with all the models that it serves; with"
    " TF_ENABLE_ONEDNN_OPTS=0, and before 2.9, it answers INVALID_ARGUMENT"
)
_REMEDY = f"{_OFF}, or let no client reach the server that can send such a request"


@dataclass(frozen=True)
class WithOnednn:
    """What was found with oneDNN on."""

    skipped: str = ""  # why nothing was run
    answers: int = 0
    comparison: Comparison = Comparison()  # with the answers without oneDNN
    ended: Tuple[str, ...] = ()  # requests and signatures that ended the process, as code in messages
    seconds: float = 0.0
    notes: Tuple[Note, ...] = ()

    @property
    def text(self) -> str:
        """One sentence for people."""
        if self.skipped:
            return f"not run: {self.skipped}"
        count = "1 answer" if self.answers == 1 else f"{self.answers} answers"
        return f"{count} with it on, largest difference {self.comparison.max_abs:.2g} from those with it off"

    def as_content(self) -> Dict[str, Any]:
        """The JSON content."""
        return {
            "skipped": self.skipped or None,
            "answers": self.answers,
            "max_abs_difference": self.comparison.by_signature(),
            "ended": list(self.ended),
            "seconds": round(self.seconds, 3),
        }


def compare_with_onednn(directory: Path, requests: Sequence[Request], answers: Sequence[Answers]) -> WithOnednn:
    """Run the requests on the files with oneDNN on; `answers` are those of this process, which has it off.

    Afterwards each signature gets a request of the wrong rank. Nothing is raised for what oneDNN does.
    """
    if not has_onednn():
        return WithOnednn("this TensorFlow has no oneDNN, and servers before 2.5 have none either")
    if uses_onednn():
        return WithOnednn("this process has it on already")
    if uses_gpus():  # whose convolutions and products differ more, often computed in TensorFloat-32
        return WithOnednn("oneDNN computes on the CPU, and these answers are those of a GPU")
    start = time.perf_counter()
    try:
        with _process(directory) as process:
            if not process.loaded.onednn:
                return WithOnednn("TensorFlow does not use it on this processor")
            found = _Found(process)
            asked = [
                replace(request, inputs={key: with_bytes(value) for key, value in request.inputs.items()})
                for request in requests
            ]
            found.ask(asked, answers)
            found.ask_wrongly(asked)
    except TensorFlowError as error:  # no C++ loader
        return WithOnednn(str(error))
    except NotServable as error:
        note = Note(
            "onednn-ends-server", str(directory), "the version does not load with oneDNN on", _OFF, reason=str(error)
        )
        return WithOnednn(ended=("load",), notes=(note,), seconds=time.perf_counter() - start)
    return replace(found.result(), seconds=time.perf_counter() - start)


def has_onednn() -> bool:
    """Whether this TensorFlow reads TF_ENABLE_ONEDNN_OPTS: 2.5 and later do, by their release notes."""
    major, minor = (int(part) for part in tf.version.VERSION.split(".")[:2])
    return (major, minor) >= (2, 5) and uses_onednn() is not None


@contextlib.contextmanager
def _process(directory: Path) -> Iterator[TimedProcess]:
    with timed_process(directory, environment=ServerSettings(onednn=True).environment()) as process:
        yield process


class _Found:
    """Asks the process, and collects what it answers."""

    def __init__(self, process: TimedProcess) -> None:
        self._process = process
        self._asked: List[Request] = []
        self._expected: List[Answers] = []
        self._answers: List[Answers] = []
        self._ended: List[str] = []
        self._notes: List[Note] = []

    def ask(self, requests: Sequence[Request], expected: Sequence[Answers]) -> None:
        """Run the requests until the process ends."""
        for request, answers in zip(requests, expected):
            if self._ended:
                return
            try:
                found = self._process.answers(request)
            except NotServable as error:
                self._failed(request, error)
                continue
            self._asked.append(request)
            self._expected.append(answers)
            self._answers.append({key: value for key, value in found.items() if key in answers})

    def ask_wrongly(self, requests: Sequence[Request]) -> None:
        """Run a request of the wrong rank for each signature until the process ends."""
        for name, request in {request.signature: request for request in reversed(requests)}.items():
            wrong = _of_wrong_rank(request)
            if wrong is None or self._ended:
                continue
            with contextlib.suppress(NotServable):  # most graphs refuse it, which is right
                self._process.answers(wrong)
            if self._process.has_ended:
                self._ended.append(wrong.where)
                shapes = ", ".join(f"{key} {list(value.shape)}" for key, value in wrong.inputs.items())
                found = f"with oneDNN on, a request of the wrong rank ({shapes}) ends the process: {_SERVER}"
                self._notes.append(Note("onednn-ends-server", f"signature {name}", found, _REMEDY))

    def _failed(self, request: Request, error: NotServable) -> None:
        if not self._process.has_ended:
            found = f"with oneDNN on it fails: {error}"
            self._notes.append(Note("onednn-differs", request.where, found, _OFF))
            return
        self._ended.append(request.where)
        found = "with oneDNN on, this request ends the process, and would end a server of 2.9 or later"
        self._notes.append(Note("onednn-ends-server", request.where, found, _OFF, reason=str(error)))

    def result(self) -> WithOnednn:
        """What was found."""
        comparison = compare(self._asked, self._expected, self._answers, OTHER_TENSORFLOW)
        differing = tuple(
            Note("onednn-differs", problem.where, f"with oneDNN on it answers differently: {problem.found}", _OFF)
            for problem in comparison.problems
        )
        return WithOnednn(
            answers=len(self._answers),
            comparison=comparison,
            ended=tuple(self._ended),
            notes=(*differing, *self._notes),
        )


def _of_wrong_rank(request: Request) -> Optional[Request]:
    """The request with the first item alone of each tensor of rank 3 or more, as of clients that forget the batch."""
    wrong: Dict[str, np.ndarray] = {}
    for key, value in request.inputs.items():
        is_larger = value.ndim >= 3 and value.dtype != object and value.shape[0] > 0
        wrong[key] = value[0] if is_larger else value
    if all(wrong[key] is value for key, value in request.inputs.items()):
        return None
    return replace(request, name=f"{request.name} of the wrong rank", inputs=wrong)
