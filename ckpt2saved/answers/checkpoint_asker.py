"""The untouched graph with its checkpoint, asked in a session."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any, Callable, Iterator, List, Mapping, Sequence

import numpy as np

from ckpt2saved.answers.asker import Asker
from ckpt2saved.answers.comparison import nan_problems
from ckpt2saved.console.reasons import reason_of
from ckpt2saved.errors import NotServable, SignatureError
from ckpt2saved.requests.request import Answers, Request
from ckpt2saved.signature.tensors import Signature
from ckpt2saved.tf1 import tf


@dataclass(frozen=True)
class Reference:
    """The untouched graph, how a session's variables become the checkpoint's, and the checkpoint's name."""

    graph: tf.Graph
    fill: Callable[[tf.Session], None]
    checkpoint: str
    signatures: Mapping[str, Signature]

    @contextlib.contextmanager
    def opened(self) -> Iterator[CheckpointAsker]:
        """A session with the checkpoint's variables."""
        with tf.Session(graph=self.graph) as session:
            self.fill(session)
            yield CheckpointAsker(self, session)


class CheckpointAsker(Asker):
    """A session of the untouched graph; raises SignatureError where the graph can't answer."""

    def __init__(self, reference: Reference, session: tf.Session) -> None:
        self._session = session
        self.reference = reference

    def answer(self, request: Request) -> Answers:
        feeds, fetches = request.feeds_and_fetches(self.reference.signatures)
        try:
            values = self._session.run(list(fetches.values()), feeds)
        except tf.errors.OpError as error:
            raise SignatureError(
                f"{request.name}: the graph itself can't answer signature {request.signature} on these inputs:"
                f" {reason_of(error)}"
            ) from error
        return dict(zip(fetches, map(np.asarray, values)))

    def numbers(self, requests: Sequence[Request]) -> List[Answers]:
        """The answers to all requests; raises NotServable where some are NaN."""
        answers = [self.answer(request) for request in requests]
        self.refuse_nan(requests, answers)
        return answers

    def refuse_nan(self, requests: Sequence[Request], answers: Sequence[Answers]) -> None:
        """Raise NotServable where an answer is NaN."""
        problems = nan_problems(requests, answers)
        if problems:
            raise NotServable(
                f"{self.reference.checkpoint}: the checkpoint answers NaN (a training that diverged?); take an earlier"
                " one",
                problems,
            )

    def run(self, fetches: Any, feeds: Mapping[str, np.ndarray]) -> Any:
        """The values of tensors of the graph; raises what a session raises."""
        return self._session.run(fetches, feeds)
