"""Run requests on a server and compare the outputs with those of the files of the version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from ckpt2saved.answers.comparison import OTHER_TENSORFLOW, Comparison, compare
from ckpt2saved.answers.server_asker import BY_ANOTHER, NotAsked, ServerAsker, Target
from ckpt2saved.answers.server_requests import ServerRequests
from ckpt2saved.client.clock import Clock
from ckpt2saved.client.explanations import explained, is_of_batching, is_of_other_sizes, is_too_long, is_unexplained
from ckpt2saved.client.server import Refused, Unreachable
from ckpt2saved.client.waiting import Arrival
from ckpt2saved.errors import NotLive
from ckpt2saved.errors.problem import Note, Problem, details, texts
from ckpt2saved.requests.request import Answers, Request, not_run


@dataclass(frozen=True)
class Answered:
    """The results of the requests for one version on a server."""

    answers: int  # number of successful requests
    seconds: float  # longest time of one request
    comparison: Optional[Comparison]  # with the outputs of the files; None if these are not known
    unasked: Tuple[Note, ...]  # one for each signature that was not run, or not with all requests
    problems: Tuple[Problem, ...]
    notes: Tuple[Note, ...] = ()
    batches: Optional[bool] = None  # whether the server runs with --enable_batching; None: unknown


@dataclass(frozen=True)
class ServerReport:
    """Whether a version is live on a server, and whether its outputs there match its files."""

    address: str
    model: str
    version: int
    arrival: Arrival
    answered: Optional[Answered]  # None if the version did not become live

    @property
    def problems(self) -> Tuple[Problem, ...]:
        """All problems; () if the version is live and its outputs match."""
        of_arrival = (Problem("not-live", "", self.arrival.problem),) if self.arrival.problem else ()
        return of_arrival + (self.answered.problems if self.answered else ())

    def raise_if_not_live(self) -> None:
        """Raise NotLive with all problems, if there are any."""
        if self.problems:
            text = "{}: {} {} does not match its files" if self.arrival.is_live else "{}: {} {} is not live"
            raise NotLive(text.format(self.address, self.model, self.version), self.problems)


def run_on_server(target: Target, to_send: ServerRequests, timeout: float, clock: Clock) -> Answered:
    """Send the requests that cannot make client requests fail, and compare with the expected outputs if known.

    Requests are sent one at a time; `timeout` in seconds covers all of them.
    """
    asker = ServerAsker(target, to_send, timeout, clock)
    known = ", ".join(sorted(asker.signatures)) or "none"
    outcome = _Outcome(asker)
    outcome.problems += [
        Problem(
            "unknown-signature", f"--probe-signature {name}", "the version has no such signature", f"it has {known}"
        )
        for name in target.probing.signatures
        if name not in asker.signatures
    ]
    for request in asker.requests:
        outcome.ask(request)
    return outcome.answered(is_compared=to_send.expected is not None)


class _Outcome:
    """The answers and problems so far."""

    def __init__(self, asker: ServerAsker) -> None:
        self._asker = asker
        self._count = 0
        self._compared: List[Request] = []
        self._found: List[Answers] = []
        self._expected: List[Answers] = []
        self._unasked: List[Note] = []
        self.problems: List[Problem] = []

    def ask(self, request: Request) -> None:
        """Send the request, unless it could make client requests fail."""
        try:
            answers = self._asker.answer(request)
        except NotAsked as error:
            self._unasked += [error.note] if error.note else []
            return
        except Refused as error:
            self._refused(request, str(error))
            return
        except (Unreachable, ValueError) as error:
            self.problems.append(_problem("no-answer", request, f"no answer: {error}"))
            return
        self._count += 1
        expected = self._asker.expected(request)
        if expected is not None and not self._asker.risks(request).change:
            expected = {key: _plain(value) for key, value in expected.items()}
            self._compared.append(request)
            self._expected.append(expected)
            self._found.append({key: _with_expected_shape(answers[key], value) for key, value in expected.items()})

    def _refused(self, request: Request, message: str) -> None:
        reason, is_broken = explained(message), bool(self._asker.risks(request).broken)
        if is_of_other_sizes(message) or is_too_long(message):
            self._unasked.append(not_run(request.signature, reason))
        elif request.is_made_up and self._asker.expected(request) is None and is_unexplained(message):
            self._unasked.append(not_run(request.signature, "the server refuses a made-up request: " + reason))
        else:
            more = ""
            if is_broken and is_of_batching(message):
                more = "; where no client asks for it, --probe-signature NAME names those that clients ask"
            elif self._asker.batches is not False and not is_broken and is_unexplained(message):
                more = " (twice" + BY_ANOTHER + ")"
            self.problems.append(
                _problem("refused-request", request, f"the server responds with an error: {reason}{more}")
            )

    def answered(self, is_compared: bool) -> Answered:
        """The results of all requests."""
        comparison = compare(self._compared, self._expected, self._found, OTHER_TENSORFLOW)
        differing = [one.with_suffix(" (the server's answer, and that of the files)") for one in comparison.problems]
        return Answered(
            answers=self._count,
            seconds=round(self._asker.seconds, 3),
            comparison=comparison if is_compared else None,
            unasked=tuple(dict.fromkeys(self._unasked)),
            problems=tuple(self.problems + differing),
            notes=tuple(self._asker.notes),
            batches=self._asker.batches,
        )


def as_content(report: ServerReport) -> Dict[str, Any]:
    """The content of --json."""
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
        "compared": bool(answered and answered.comparison),
        "max_abs_difference": answered.comparison.by_signature() if answered and answered.comparison else {},
        "unasked": texts(answered.unasked) if answered else [],
        "unasked_details": details(answered.unasked) if answered else [],
        "notes": texts(answered.notes) if answered else [],
        "note_details": details(answered.notes) if answered else [],
        "batches": answered.batches if answered else None,
        "problems": texts(report.problems),
        "problem_details": details(report.problems),
    }


def _problem(code: str, request: Request, found: str) -> Problem:
    return Problem(code, f"{request.name}: {request.signature}", found)


def _plain(value: np.ndarray) -> np.ndarray:
    """The array with strings as objects, whatever their dtype."""
    return value.astype(object) if value.dtype.kind in "SU" else value


def _with_expected_shape(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """The array with its expected shape if empty: JSON holds the dimensions only up to the first 0."""
    if not found.size and not expected.size and found.shape == expected.shape[: found.ndim]:
        return found.reshape(expected.shape)
    return found
