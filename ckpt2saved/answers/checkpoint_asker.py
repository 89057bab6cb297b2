"""Run requests on the original graph with the variables of its checkpoint."""

from __future__ import annotations

import contextlib
from typing import Any, Dict, FrozenSet, Iterator, List, Mapping, Sequence, Tuple

import numpy as np

from ckpt2saved.answers.asker import Asker
from ckpt2saved.answers.comparison import nan_problems
from ckpt2saved.answers.grafting import Grafted
from ckpt2saved.checkpoint.contents import Checkpoint
from ckpt2saved.console.reasons import reason_of
from ckpt2saved.errors import NotServable, SignatureError
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.requests.request import Answers, Request
from ckpt2saved.signature.tensors import Signature
from ckpt2saved.sources.binding import BoundGraph


class CheckpointAsker(Asker):
    """A session of the original graph; raises SignatureError if the graph cannot run a request."""

    def __init__(self, session: tf.Session, checkpoint: str, signatures: Mapping[str, Signature]) -> None:
        """`checkpoint` names the checkpoint in messages."""
        self._session = session
        self._checkpoint = checkpoint
        self.graph: tf.Graph = session.graph
        self.signatures = signatures

    def rewritten(self, grafted: Grafted) -> CheckpointAsker:
        """An asker of a rewritten graph in the same session."""
        return _RewrittenAsker(self._session, self._checkpoint, grafted)

    def feeds_and_fetches(self, request: Request) -> Tuple[Dict[str, np.ndarray], Dict[str, str]]:
        """As Request.feeds_and_fetches, with the names of tensors in `graph`."""
        return request.feeds_and_fetches(self.signatures)

    def answer(self, request: Request) -> Answers:
        feeds, fetches = self.feeds_and_fetches(request)
        try:
            values = self._session.run(list(fetches.values()), feeds)
        except tf.errors.OpError as error:
            raise SignatureError(
                f"{request.name}: {self._graph_name} cannot run signature {request.signature} on these inputs:"
                f" {reason_of(error)}"
            ) from error
        return dict(zip(fetches, map(np.asarray, values)))

    def answers(self, requests: Sequence[Request]) -> List[Answers]:
        """Run all requests, those with the same inputs together."""
        parts = [self.feeds_and_fetches(request) for request in requests]
        together: Dict[FrozenSet[Tuple[str, int]], List[int]] = {}
        for number, (feeds, _) in enumerate(parts):
            together.setdefault(frozenset((tensor, id(value)) for tensor, value in feeds.items()), []).append(number)
        found: Dict[int, Answers] = {}
        for numbers in together.values():
            try:
                runs = self._session.run([parts[number][1] for number in numbers], parts[numbers[0]][0])
            except tf.errors.OpError:  # by itself each request gets its own error
                runs = [self.answer(requests[number]) for number in numbers]
            for number, values in zip(numbers, runs):
                found[number] = {key: np.asarray(value) for key, value in values.items()}
        return [found[number] for number in range(len(requests))]

    def numbers(self, requests: Sequence[Request]) -> List[Answers]:
        """Run all requests; raises NotServable if an output contains NaN."""
        answers = self.answers(requests)
        self.refuse_nan(requests, answers)
        return answers

    def refuse_nan(self, requests: Sequence[Request], answers: Sequence[Answers]) -> None:
        """Raise NotServable if an output contains NaN."""
        problems = nan_problems(requests, answers)
        if problems:
            raise NotServable(
                f"{self._checkpoint}: the outputs contain NaN with these weights (a training that diverged?); use"
                " earlier ones",
                problems,
            )

    def run(self, fetches: Any, feeds: Mapping[str, np.ndarray]) -> Any:
        """Run the session directly; raises the errors of tf.Session.run."""
        return self._session.run(fetches, feeds)

    _graph_name = "the original graph"


class _RewrittenAsker(CheckpointAsker):
    """A rewritten graph in the session of the original graph; requests name the tensors of the rewritten graph."""

    _graph_name = "the graph with other ops"

    def __init__(self, session: tf.Session, checkpoint: str, grafted: Grafted) -> None:
        super().__init__(session, checkpoint, grafted.signatures)
        self._place = grafted.place

    def feeds_and_fetches(self, request: Request) -> Tuple[Dict[str, np.ndarray], Dict[str, str]]:
        feeds, fetches = super().feeds_and_fetches(request)
        return (
            {self._place(tensor): value for tensor, value in feeds.items()},
            {key: self._place(tensor) for key, tensor in fetches.items()},
        )


@contextlib.contextmanager
def open_checkpoint_asker(network: BoundGraph, checkpoint: Checkpoint) -> Iterator[CheckpointAsker]:
    """Open a session of the original graph with the variables of the checkpoint."""
    with network.session(checkpoint) as session:
        yield CheckpointAsker(session, str(checkpoint.files.prefix), network.serving.signatures)
