"""Run a SavedModel with the Python loader in a new process, which shares no state with the export.

The parent sends the path of a SavedModel, then requests, then None; inside of `kept_processes` all of it again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Iterator, Mapping, Tuple, cast

import numpy as np

from ckpt2saved.answers.asker import Asker
from ckpt2saved.answers.worker import Worker, WorkerEnded, sender, working_again
from ckpt2saved.console.reasons import reason_of
from ckpt2saved.errors import InvalidRequest, NotServable, TensorFlowError
from ckpt2saved.files.plain_paths import as_plain_directory
from ckpt2saved.graph.devices import gpus
from ckpt2saved.requests.request import Answers, Request
from ckpt2saved.saved_model.reading import signature_of
from ckpt2saved.signature.tensors import Signature

if TYPE_CHECKING:  # the parent process does without TensorFlow, whose import takes seconds
    from ckpt2saved.graph.tf1 import tf

_LOADED, _ANSWERS, _INVALID, _FAILED, _NO_TENSORFLOW = range(5)  # kinds of messages from the process


class NewProcess(Asker):
    """A process that has loaded a SavedModel and runs one request at a time.

    Raises NotServable if a run fails, InvalidRequest if the graph refuses the request; both include the stderr of the
    process.
    """

    def __init__(self, directory: Path, worker: Worker) -> None:
        self._directory = directory
        self._worker = worker
        self.has_ended = False
        worker.send(os.path.abspath(as_plain_directory(directory)))
        self._receive(_LOADED)

    def answer(self, request: Request) -> Answers:
        self._worker.send(request)
        return cast(Answers, self._receive(_ANSWERS))

    def _receive(self, expected: int) -> Any:
        try:
            kind, content = self._worker.receive()
        except WorkerEnded as error:
            self.has_ended = True
            kind, content = _FAILED, str(error)
        if kind == expected:
            return content
        if kind == _NO_TENSORFLOW:
            raise TensorFlowError(content)
        raise (InvalidRequest if kind == _INVALID else NotServable)(
            f"{self._directory}: it does not load or answer in a new process:\n"
            f"{(self._worker.said() + content).strip()}"
        )


@contextlib.contextmanager
def loaded_in_new_process(directory: Path) -> Iterator[NewProcess]:
    """Load the SavedModel in `directory` in a new process.

    Raises NotServable if it does not load, TensorFlowError if TensorFlow is not installed.
    """
    with working_again(__name__) as worker:
        yield NewProcess(directory, worker)
        worker.send(None)


def main() -> None:
    """Entry point of the process: load the SavedModels, and run the requests, that are read from stdin."""
    send = sender()
    try:
        from ckpt2saved.graph.tf1 import open_session, tf
    except TensorFlowError as error:
        send((_NO_TENSORFLOW, str(error)))
        return
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # deprecation warnings would hide the reason for a failure
    with contextlib.suppress(EOFError):  # the parent process has ended
        while True:
            directory = Path(pickle.load(sys.stdin.buffer))
            with gpus(True), tf.Graph().as_default(), open_session() as session:  # if the environment has them
                _run(session, directory, send)


def _run(session: tf.Session, directory: Path, send: Callable[[Any], None]) -> None:
    """Load a SavedModel and run requests until there are no more."""
    from ckpt2saved.saved_model.python_loader import load_into

    try:
        meta_graph = load_into(session, directory)
    except NotServable as error:
        send((_FAILED, str(error)))
        return
    send((_LOADED, None))
    signatures = {name: signature_of(name, one) for name, one in meta_graph.signature_def.items()}
    for request in iter(lambda: pickle.load(sys.stdin.buffer), None):
        send(_answer(session, signatures, request))


def _answer(session: tf.Session, signatures: Mapping[str, Signature], request: Request) -> Tuple[int, Any]:
    from ckpt2saved.graph.tf1 import tf

    feeds, fetches = request.feeds_and_fetches(signatures)
    try:
        return _ANSWERS, dict(zip(fetches, map(np.asarray, session.run(list(fetches.values()), feeds))))
    except tf.errors.OpError as error:
        kind = _INVALID if isinstance(error, tf.errors.InvalidArgumentError) else _FAILED
        return kind, reason_of(error)
    except Exception:  # a feed that Python refuses; the process must still run the next request
        return _FAILED, traceback.format_exc()
