"""A SavedModel's answers from Python's loader, in a process that knows nothing of how the files were made."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any, Iterator, Tuple

import numpy as np

from ckpt2saved.answers.asker import Asker
from ckpt2saved.console.reasons import reason_of
from ckpt2saved.errors import InvalidRequest, NotServable
from ckpt2saved.files.plain_paths import as_plain_directory
from ckpt2saved.files.programs import python_command
from ckpt2saved.graph.contrib import register_ops_of
from ckpt2saved.requests.request import Answers, Request
from ckpt2saved.tf1 import tf

_LOADED, _ANSWERS, _INVALID, _FAILED = range(4)  # kinds of messages from the process


class NewProcess(Asker):
    """A process that has loaded a SavedModel and answers one request after the other.

    Raises NotServable where it can't answer, InvalidRequest where the graph refuses the request; both with everything
    that the process has written to its stderr.
    """

    def __init__(self, directory: Path, child: subprocess.Popen, errors: IO[bytes]) -> None:
        self._directory = directory
        self._child = child
        self._errors = errors
        self._receive(_LOADED)

    def answer(self, request: Request) -> Answers:
        with contextlib.suppress(BrokenPipeError):  # of a process that has ended, which reading from it shows
            pickle.dump(request, self._child.stdin, protocol=4)
            self._child.stdin.flush()
        return self._receive(_ANSWERS)

    def _receive(self, expected: int) -> Any:
        try:
            kind, content = pickle.load(self._child.stdout)
        except (EOFError, OSError, pickle.UnpicklingError):
            kind, content = _FAILED, f"it has ended with the exit code {self._child.wait()}"
        if kind == expected:
            return content
        error = InvalidRequest if kind == _INVALID else NotServable
        said = self._errors.read().decode("utf-8", "replace")
        raise error(f"{self._directory}: it does not load or answer in a new process:\n{(said + content).strip()}")


@contextlib.contextmanager
def loaded_in_new_process(directory: Path) -> Iterator[NewProcess]:
    """The SavedModel in `directory`, loaded by a process of its own; raises NotServable where it does not load."""
    target = os.path.abspath(as_plain_directory(directory))
    with contextlib.ExitStack() as stack:
        # A pipe for stderr could fill up while nobody reads it.
        path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ckpt2saved-"))) / "stderr"
        written, errors = (stack.enter_context(open(str(path), mode)) for mode in ("wb", "rb"))
        child = subprocess.Popen(
            python_command(__name__, target), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=written
        )
        try:
            yield NewProcess(directory, child, errors)
        finally:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def main() -> None:
    """What the process does: load the SavedModel in sys.argv[1], and answer the requests that stdin brings."""
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what TensorFlow prints is no message

    def send(message: Tuple[int, Any]) -> None:
        pickle.dump(message, channel, protocol=4)
        channel.flush()

    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # deprecations would hide the reason of a failure
    directory = Path(sys.argv[1])
    register_ops_of(directory)
    with tf.Graph().as_default(), tf.Session() as session:
        try:
            meta_graph = tf.saved_model.loader.load(session, [tf.saved_model.SERVING], str(directory))
        except (tf.errors.OpError, RuntimeError, ValueError, KeyError, TypeError, OSError) as error:
            send((_FAILED, reason_of(error)))
            return
        send((_LOADED, None))
        while True:
            try:
                request = pickle.load(sys.stdin.buffer)
            except EOFError:
                return
            send(_answer(session, meta_graph, request))


def _answer(session: tf.Session, meta_graph: Any, request: Request) -> Tuple[int, Any]:
    feeds, fetches = request.feeds_and_fetches(meta_graph.signature_def)
    try:
        return _ANSWERS, dict(zip(fetches, map(np.asarray, session.run(list(fetches.values()), feeds))))
    except tf.errors.OpError as error:
        kind = _INVALID if isinstance(error, tf.errors.InvalidArgumentError) else _FAILED
        return kind, reason_of(error)
