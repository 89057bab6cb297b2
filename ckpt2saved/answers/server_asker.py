"""A version on a running server, asked so that no request of a client fails for it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional, Tuple

from ckpt2saved.answers.asker import Asker
from ckpt2saved.answers.probing import Probing, ProbingRules, Risks, in_order, risks_of
from ckpt2saved.answers.wanted import Wanted
from ckpt2saved.client.explanations import explained, is_of_batching, is_of_other_sizes, is_unexplained
from ckpt2saved.client.server import Output, Refused, Server, ServerUntil
from ckpt2saved.client.waiting import TIMEOUT_SECONDS, Clock
from ckpt2saved.protobuf.data_types import numpy_dtype
from ckpt2saved.requests.gathering import served_signatures
from ckpt2saved.requests.request import Answers, Request, cant_be_asked
from ckpt2saved.requests.splitting import unsplit_outputs
from ckpt2saved.saved_model.reading import SavedModelFile
from ckpt2saved.saved_model.state_changes import changing_signatures
from ckpt2saved.signature.tensors import Signature

# Between two tries of a request that others in its batch may have failed.
_PAUSE_SECONDS = 0.5
BY_ANOTHER = "; on a server that batches, another client's request in the same batch can be the reason"


@dataclass(frozen=True)
class Target:
    """The version that should be live, by the name that the server has for its model."""

    server: Server
    model: str
    version: int
    directory: Path
    timeout: float = TIMEOUT_SECONDS
    probing: Probing = Probing()


class NotAsked(Exception):
    """The request was not sent; the text says why, or is empty where the answer to another request told enough."""


class ServerAsker(Asker):
    """One version on a server, asked one request after the other.

    A request that could fail those of clients is not sent (NotAsked). Raises Refused where the server answers with an
    error, Unreachable where it does not answer, and ValueError where a request can't be written.
    """

    def __init__(self, target: Target, wanted: Wanted, timeout: float, clock: Clock) -> None:
        """`timeout` seconds for all requests together, once what is to be known of the version has been read."""
        self._target = target
        self._timeout = timeout
        self._sleep = clock.sleep
        self._rules = ProbingRules(target.probing)
        saved_model = SavedModelFile(target.directory)
        self.signatures = served_signatures(saved_model)
        changes = changing_signatures(saved_model)
        self._expected = dict(zip(map(id, wanted.requests), wanted.expected or ()))
        risks = [
            risks_of(
                request,
                self.signatures[request.signature],
                wanted.without_batch.get(request.signature, ()),
                changes.get(request.signature, ""),
                self._expected.get(id(request)),
            )
            for request in wanted.requests
        ]
        self._risks = dict(zip(map(id, wanted.requests), risks))
        self.requests = [wanted.requests[number] for number in in_order(wanted.requests, risks)]
        self._server = ServerUntil(target.server, clock.now() + timeout, clock.now)
        self.seconds = 0.0  # the longest that the server took for an answer
        self.notes: List[str] = []

    @property
    def batches(self) -> Optional[bool]:
        """Whether the server runs with --enable_batching; None: it did not show."""
        return self._rules.batches

    def expected(self, request: Request) -> Optional[Answers]:
        """What the files answer, if that is known."""
        return self._expected.get(id(request))

    def risks(self, request: Request) -> Risks:
        """What the request may do to the server, and to clients' requests."""
        return self._risks[id(request)]

    def answer(self, request: Request) -> Answers:
        reason = self._rules.reason_against(request, self.risks(request), id(request) in self._expected)
        if reason is not None:
            raise NotAsked(reason and f"{request.signature}: not asked: {reason}")
        try:
            outputs = _outputs(self.signatures[request.signature])
        except ValueError as error:
            raise NotAsked(cant_be_asked(request.signature, str(error))) from error
        answers = self._answered(request, outputs)
        if unsplit_outputs(request.inputs, answers):
            self._rules.batches = False  # a server that batches could not have split this answer
        return answers

    def _answered(self, request: Request, outputs: Tuple[Output, ...]) -> Answers:
        """What the server answers, at the second try where another request in the batch may have failed the first."""
        try:
            return self._sent(request, outputs)
        except Refused as error:
            message = str(error)
            by_another = is_of_other_sizes(message) or (not self.risks(request).broken and is_unexplained(message))
            if self._rules.batches is False or not by_another:
                raise
        self._sleep(_PAUSE_SECONDS)
        answers = self._sent(request, outputs)
        self.notes.append(
            f"{request.name}: {request.signature}: answered at the second try alone; at the first:"
            f" {explained(message)}{BY_ANOTHER}"
        )
        return answers

    def _sent(self, request: Request, outputs: Tuple[Output, ...]) -> Answers:
        start, target = time.monotonic(), self._target
        try:
            answers = self._server.predict(
                target.model, target.version, request.signature, request.inputs, outputs, self._timeout
            )
        except Refused as error:
            if is_of_batching(str(error)):
                self._rules.batches = True
            raise
        self.seconds = max(self.seconds, time.monotonic() - start)
        return answers


def _outputs(signature: Signature) -> Tuple[Output, ...]:
    return tuple(Output(tensor.key, numpy_dtype(tensor.dtype)) for tensor in signature.outputs)
