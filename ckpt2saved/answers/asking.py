"""What a running server answers, compared with what the version's own files answer."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Collection, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ckpt2saved.answers.probing import Choice, Manner, Probing, in_order, manner_of
from ckpt2saved.client.explanations import (
    explained,
    is_of_batching,
    is_of_other_sizes,
    is_too_long,
    is_unexplained,
)
from ckpt2saved.client.server import Output, Refused, Server, Unreachable
from ckpt2saved.client.waiting import TIMEOUT_SECONDS, Arrival
from ckpt2saved.errors import NotLive
from ckpt2saved.protobuf.tensor_proto import numpy_dtype
from ckpt2saved.requests.differences import Answers, Difference, Tolerance, find_differences
from ckpt2saved.requests.requests import (
    Request,
    cant_be_asked,
    gather_requests,
    made_without_tensorflow,
    served_signatures,
)
from ckpt2saved.requests.splitting import unsplit_outputs
from ckpt2saved.saved_model.signatures import SavedSignature
from ckpt2saved.saved_model.state_changes import changing_signatures

# Another TensorFlow, another processor or a GPU: sums in another order.
TOLERANCE = Tolerance(1e-3, 1e-6)


# Between two tries of a request that others in its batch may have failed.
_PAUSE_SECONDS = 0.5


@dataclass(frozen=True)
class Answered:
    """How a server answered requests for one version."""

    answers: int  # requests that it answered
    seconds: float  # the longest that it took for one
    is_compared: bool  # with the answers of the version's files
    differences: Tuple[Difference, ...]
    unasked: Tuple[str, ...]  # a line for each signature that was not asked, or not to the end
    problems: Tuple[str, ...]
    notes: Tuple[str, ...] = ()
    batches: Optional[bool] = None  # whether the server runs with --enable_batching; None: it did not show


@dataclass(frozen=True)
class Target:
    """The version that should be live, by the name that the server has for its model."""

    server: Server
    model: str
    version: int
    directory: Path
    timeout: float = TIMEOUT_SECONDS
    probing: Probing = Probing()


@dataclass(frozen=True)
class Wanted:
    """What a server is to be asked, and what it should answer."""

    requests: Tuple[Request, ...]
    expected: Optional[Tuple[Answers, ...]]  # None: not known
    unasked: Tuple[str, ...] = ()
    problems: Tuple[str, ...] = ()  # of the files themselves
    why_not_compared: str = ""
    without_batch: Mapping[str, Collection[str]] = field(default_factory=dict)  # outputs of another first dimension


@dataclass(frozen=True)
class ServerReport:
    """Whether a version is live on a running server, and whether it answers there as its files do."""

    address: str
    model: str
    version: int
    arrival: Arrival
    answered: Optional[Answered]  # None where the version did not get there

    @property
    def problems(self) -> Tuple[str, ...]:
        """Everything that speaks against it; () if the version is live and answers."""
        of_arrival = (self.arrival.problem,) if self.arrival.problem else ()
        return of_arrival + (self.answered.problems if self.answered else ())

    def raise_if_not_live(self) -> None:
        """Raise NotLive with all the problems, if there are any."""
        if self.problems:
            text = "{}: {} {} is not what it serves" if self.arrival.is_live else "{}: {} {} is not live"
            raise NotLive(text.format(self.address, self.model, self.version), self.problems)


def prepare_without_tensorflow(directory: Path, why: str) -> Wanted:
    """Requests without the answers that they should get, which are not known for the reason `why`."""
    gathered = gather_requests(directory, made_without_tensorflow)
    return Wanted(gathered.requests, None, gathered.unasked, why_not_compared=why)


def ask_server(target: Target, wanted: Wanted, timeout: float, sleep: Callable[[float], None]) -> Answered:
    """Put the requests to this version that can't harm others, and compare with what is expected, if that is known.

    `timeout` seconds for each. One request is asked after the other.
    """
    signatures = served_signatures(target.directory)
    changes = changing_signatures(target.directory)
    expected: Sequence[Optional[Answers]] = wanted.expected or [None] * len(wanted.requests)
    manners = [
        manner_of(
            r, signatures[r.signature], wanted.without_batch.get(r.signature, ()), changes.get(r.signature, ""), e
        )
        for r, e in zip(wanted.requests, expected)
    ]
    asking = _Asking(target, signatures, Choice(target.probing), timeout, sleep)
    asking.refuse_unknown(target.probing.signatures)
    for number in in_order(wanted.requests, manners):
        asking.ask(wanted.requests[number], manners[number], expected[number])
    return asking.answered(wanted.expected is not None)


class _Asking:
    """The requests to one version, and what came of them so far."""

    def __init__(
        self,
        target: Target,
        signatures: Mapping[str, SavedSignature],
        choice: Choice,
        timeout: float,
        sleep: Callable[[float], None],
    ) -> None:
        self._target = target
        self._signatures = signatures
        self._choice = choice
        self._timeout = timeout
        self._sleep = sleep
        self._asked: List[Request] = []
        self._found: List[Answers] = []
        self._wanted: List[Answers] = []
        self._count, self._seconds = 0, 0.0
        self._unasked: List[str] = []
        self._problems: List[str] = []
        self._notes: List[str] = []

    def refuse_unknown(self, names: Sequence[str]) -> None:
        """Take it for a problem that signatures are to be asked which the version does not have."""
        text = "--probe-signature {}: the version has no such signature; it has {}"
        known = ", ".join(sorted(self._signatures)) or "none"
        self._problems += [text.format(name, known) for name in names if name not in self._signatures]

    def ask(self, request: Request, manner: Manner, expected: Optional[Answers]) -> None:
        reason = self._choice.reason_against(request, manner, expected is not None)
        if reason is not None:
            if reason:
                self._unasked.append(f"{request.signature}: not asked: {reason}")
            return
        try:
            outputs = _outputs(self._signatures[request.signature])
        except ValueError as error:
            self._unasked.append(cant_be_asked(request.signature, str(error)))
            return
        try:
            answers = self._answers(request, manner, outputs)
        except Refused as error:
            self._refused(request, manner, expected, error)
        except (Unreachable, ValueError) as error:
            self._problems.append(_problem(request, f"no answer: {error}"))
        else:
            if unsplit_outputs(request.inputs, answers):
                self._choice.batches = False  # a server that batches could not have split this answer
            self._count += 1
            if expected is not None and not manner.change:
                self._asked.append(request)
                self._wanted.append({key: _plain(value) for key, value in expected.items()})
                self._found.append({key: _as_told(answers[key], value) for key, value in self._wanted[-1].items()})

    def _answers(self, request: Request, manner: Manner, outputs: Tuple[Output, ...]) -> Answers:
        """What the server answers, at the second try where another request in the batch may have failed the first."""
        try:
            return self._answer(request, outputs)
        except Refused as error:
            message = str(error)
            if is_of_batching(message):
                self._choice.batches = True
            by_another = is_of_other_sizes(message) or (not manner.broken and is_unexplained(message))
            if self._choice.batches is False or not by_another:
                raise
        self._sleep(_PAUSE_SECONDS)
        answers = self._answer(request, outputs)
        self._notes.append(
            _problem(
                request,
                (f"answered at the second try alone; at the first: {explained(message)}{_BY_ANOTHER}"),
            )
        )
        return answers

    def _answer(self, request: Request, outputs: Tuple[Output, ...]) -> Answers:
        start, target = time.monotonic(), self._target
        answers = target.server.predict(
            target.model, target.version, request.signature, request.inputs, outputs, self._timeout
        )
        self._seconds = max(self._seconds, time.monotonic() - start)
        return answers

    def _refused(self, request: Request, manner: Manner, expected: Optional[Answers], error: Refused) -> None:
        message = str(error)
        if is_of_batching(message):
            self._choice.batches = True
        reason = explained(message)
        if is_of_other_sizes(message) or is_too_long(message):
            self._unasked.append(cant_be_asked(request.signature, reason))
        elif request.is_made_up and expected is None and is_unexplained(message):
            self._unasked.append(cant_be_asked(request.signature, "the server refuses a made-up request: " + reason))
        else:
            more = ""
            if manner.broken and is_of_batching(message):
                more = "; where no client asks for it, --probe-signature NAME names those that clients ask"
            elif self._choice.batches is not False and not manner.broken and is_unexplained(message):
                more = " (twice" + _BY_ANOTHER + ")"
            text = f"the server answers with an error: {reason}{more}"
            self._problems.append(_problem(request, text))

    def answered(self, is_compared: bool) -> Answered:
        differences, differing = find_differences(self._asked, self._wanted, self._found, TOLERANCE)
        lines = [f"{line} (the server's answer, and that of the files)" for line in differing]
        return Answered(
            self._count,
            round(self._seconds, 3),
            is_compared,
            tuple(differences),
            tuple(dict.fromkeys(self._unasked)),
            tuple(self._problems + lines),
            tuple(self._notes),
            self._choice.batches,
        )


_BY_ANOTHER = "; on a server that batches, another client's request in the same batch can be the reason"


def as_content(report: ServerReport) -> Dict[str, Any]:
    """What --json prints of it."""
    arrival, answered = report.arrival, report.answered
    return {
        "address": report.address,
        "model": report.model,
        "version": report.version,
        "outcome": arrival.outcome,
        "seconds": arrival.seconds,
        "states": [vars(sighting) for sighting in arrival.seen],
        "answers": answered.answers if answered else 0,
        "seconds_per_answer": answered.seconds if answered else None,
        "compared": bool(answered and answered.is_compared),
        "max_abs_difference": by_signature(answered.differences) if answered else {},
        "unasked": list(answered.unasked) if answered else [],
        "notes": list(answered.notes) if answered else [],
        "batches": answered.batches if answered else None,
        "problems": list(report.problems),
    }


def by_signature(differences: Sequence[Difference]) -> Dict[str, Dict[str, float]]:
    """Signature -> output -> largest difference."""
    found: Dict[str, Dict[str, float]] = {}
    for difference in differences:
        found.setdefault(difference.signature, {})[difference.output] = difference.max_abs
    return found


def _problem(request: Request, text: str) -> str:
    return f"{request.name}: {request.signature}: {text}"


def _outputs(signature: SavedSignature) -> Tuple[Output, ...]:
    return tuple(Output(tensor.key, numpy_dtype(tensor.data_type)) for tensor in signature.outputs)


def _plain(value: np.ndarray) -> np.ndarray:
    """Strings as objects, however TensorFlow gave them."""
    return value.astype(object) if value.dtype.kind in "SU" else value


def _as_told(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """JSON shows an empty tensor's sizes only up to the first 0."""
    if not found.size and not wanted.size and found.shape == wanted.shape[: found.ndim]:
        return found.reshape(wanted.shape)
    return found
