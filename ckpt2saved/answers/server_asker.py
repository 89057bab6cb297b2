"""Run requests on a version on a server, without making requests of clients fail."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional, Tuple

from ckpt2saved.answers.asker import Asker
from ckpt2saved.answers.probing import Probing, ProbingRules, Risks, in_order, risks_of
from ckpt2saved.answers.server_requests import ServerRequests
from ckpt2saved.client.clock import Clock
from ckpt2saved.client.explanations import explained, is_of_batching, is_of_other_sizes, is_unexplained
from ckpt2saved.client.server import Output, PredictCall, Refused, Server, ServerUntil, outputs_of
from ckpt2saved.client.waiting import TIMEOUT_SECONDS
from ckpt2saved.errors.problem import Note
from ckpt2saved.requests.gathering import served_signatures
from ckpt2saved.requests.request import Answers, Request, not_run
from ckpt2saved.requests.splitting import unsplit_outputs
from ckpt2saved.saved_model.reading import SavedModelFile
from ckpt2saved.saved_model.state_changes import changing_signatures

# Pause before a retry, if another request in the same batch may have caused the failure.
_PAUSE_SECONDS = 0.5
BY_ANOTHER = "; on a server that batches, another client's request in the same batch can be the reason"


@dataclass(frozen=True)
class Target:
    """A version on a server; `model` is the model name there."""

    server: Server
    model: str
    version: int
    directory: Path
    timeout: float = TIMEOUT_SECONDS
    probing: Probing = Probing()


class NotAsked(Exception):
    """The request was not sent; `note` is the reason, None if another request for the signature was enough."""

    def __init__(self, note: Optional[Note]) -> None:
        super().__init__(note.text if note else "")
        self.note = note


class ServerAsker(Asker):
    """Sends requests for one version to a server, one at a time.

    Raises NotAsked for a request that could make client requests fail (it is not sent), Refused if the server responds
    with an error, Unreachable if it does not respond, and ValueError if a request cannot be encoded.
    """

    def __init__(self, target: Target, to_send: ServerRequests, timeout: float, clock: Clock) -> None:
        """`timeout` in seconds covers all requests; it starts after the files of the version were read."""
        self._target = target
        self._timeout = timeout
        self._sleep = clock.sleep
        self._rules = ProbingRules(target.probing)
        saved_model = SavedModelFile(target.directory)
        self.signatures = served_signatures(saved_model)
        changes = changing_signatures(saved_model)
        self._expected = dict(zip(map(id, to_send.requests), to_send.expected or ()))
        risks = [
            risks_of(
                request,
                self.signatures[request.signature],
                to_send.without_batch.get(request.signature, ()),
                changes.get(request.signature, ""),
                self._expected.get(id(request)),
            )
            for request in to_send.requests
        ]
        self._risks = dict(zip(map(id, to_send.requests), risks))
        self.requests = [to_send.requests[number] for number in in_order(to_send.requests, risks)]
        self._server = ServerUntil(target.server, clock.now() + timeout, clock.now)
        self.seconds = 0.0  # longest time of one request
        self.notes: List[Note] = []

    @property
    def batches(self) -> Optional[bool]:
        """Whether the server runs with --enable_batching; None: unknown."""
        return self._rules.batches

    def expected(self, request: Request) -> Optional[Answers]:
        """The outputs of the files, if known."""
        return self._expected.get(id(request))

    def risks(self, request: Request) -> Risks:
        """The risks of the request for the server and its clients."""
        return self._risks[id(request)]

    def answer(self, request: Request) -> Answers:
        reason = self._rules.reason_against(request, self.risks(request), id(request) in self._expected)
        if reason is not None:
            raise NotAsked(Note("not-run", request.signature, f"not run: {reason}") if reason else None)
        try:
            outputs = outputs_of(self.signatures[request.signature])
        except ValueError as error:
            raise NotAsked(not_run(request.signature, str(error))) from error
        answers = self._answered(request, outputs)
        if unsplit_outputs(request.inputs, answers):
            self._rules.batches = False  # a server that batches could not have split these outputs
        return answers

    def _answered(self, request: Request, outputs: Tuple[Output, ...]) -> Answers:
        """Send the request; retry once if another request in the same batch may have caused the failure."""
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
            Note(
                "retried-request",
                f"{request.name}: {request.signature}",
                f"succeeded at the second attempt; at the first: {explained(message)}{BY_ANOTHER}",
            )
        )
        return answers

    def _sent(self, request: Request, outputs: Tuple[Output, ...]) -> Answers:
        start, target = time.monotonic(), self._target
        try:
            call = PredictCall(
                model=target.model,
                version=target.version,
                signature=request.signature,
                inputs=request.inputs,
                outputs=outputs,
            )
            answers = self._server.predict(call, self._timeout)
        except Refused as error:
            if is_of_batching(str(error)):
                self._rules.batches = True
            raise
        self.seconds = max(self.seconds, time.monotonic() - start)
        return answers
