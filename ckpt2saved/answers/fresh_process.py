"""A SavedModel's answers from Python's loader, in a process that knows nothing of how the files were made."""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import List, Sequence

import numpy as np

from ckpt2saved.console.reasons import reason_of
from ckpt2saved.errors import InvalidRequest, NotServable
from ckpt2saved.files.plain_paths import as_plain_directory
from ckpt2saved.files.programs import python_command
from ckpt2saved.files.write_errors import writing
from ckpt2saved.graph.contrib import register_ops_of
from ckpt2saved.requests.questions import Answers, Question
from ckpt2saved.tf1 import tf

_INVALID_REQUEST = 4  # exit code of the process that was asked
_NOT_WRITTEN = 100  # and the errno, where it can't write its answers


def fresh_rounds(directory: Path, asked: Sequence[Question], rounds: int) -> List[List[Answers]]:
    """The answers, `rounds` times, of the SavedModel loaded by Python's loader in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        exchange = Path(folder) / "exchange.pickle"  # between two processes of one user, in a directory of theirs alone
        with writing(exchange):
            exchange.write_bytes(pickle.dumps((asked, rounds), protocol=4))
        target = os.path.abspath(as_plain_directory(directory))
        command = python_command("ckpt2saved.answers.fresh_process", target, str(exchange))
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode > _NOT_WRITTEN:
            code = done.returncode - _NOT_WRITTEN
            raise OSError(code, os.strerror(code), str(exchange))
        if done.returncode != 0:
            output = done.stdout.decode("utf-8", "replace").strip()
            kind = InvalidRequest if done.returncode == _INVALID_REQUEST else NotServable
            raise kind(f"{directory}: it does not load or answer in a new process:\n{output}")
        return pickle.loads(exchange.read_bytes())


def _answer(directory: Path, exchange: Path) -> None:
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # deprecations would hide the reason of a failure
    asked, rounds = pickle.loads(exchange.read_bytes())
    register_ops_of(directory)
    with tf.Graph().as_default(), tf.Session() as session:
        try:
            meta_graph = tf.saved_model.loader.load(session, [tf.saved_model.SERVING], str(directory))
        except (tf.errors.OpError, RuntimeError, ValueError, KeyError, TypeError, OSError) as error:
            sys.stderr.write(reason_of(error) + "\n")
            sys.exit(1)
        answers = [[_run(session, meta_graph, question) for question in asked] for _ in range(rounds)]
    try:
        exchange.write_bytes(pickle.dumps(answers, protocol=4))
    except OSError as error:
        sys.exit(_NOT_WRITTEN + (error.errno or 0))


def _run(session: tf.Session, meta_graph, question: Question) -> Answers:
    feeds, fetches = question.wires(meta_graph.signature_def)
    try:
        return dict(zip(fetches, map(np.asarray, session.run(list(fetches.values()), feeds))))
    except tf.errors.OpError as error:
        sys.stderr.write(f"{question.where}: {reason_of(error)}\n")
        sys.exit(_INVALID_REQUEST if isinstance(error, tf.errors.InvalidArgumentError) else 1)


def main() -> None:
    """What the new process does: sys.argv holds the SavedModel's directory and the file of the questions."""
    _answer(Path(sys.argv[1]), Path(sys.argv[2]))
