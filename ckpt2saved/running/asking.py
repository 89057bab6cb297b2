"""What a running server answers, compared with what the version's own files answer."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple

import numpy as np

from ckpt2saved.differences import Answers, Difference, Tolerance, find_differences
from ckpt2saved.errors import NotLive
from ckpt2saved.requests import Request, cant_be_asked
from ckpt2saved.running.explanations import explained
from ckpt2saved.running.server import Output, Refused, Server, Unreachable
from ckpt2saved.running.waiting import Arrival
from ckpt2saved.serving.saved_signatures import SavedSignature
from ckpt2saved.tensor_proto import numpy_dtype

# Another TensorFlow, another processor or a GPU: sums in another order.
TOLERANCE = Tolerance(1e-3, 1e-6)


@dataclass(frozen=True)
class Answered:
    """How a server answered requests for one version."""

    answers: int  # requests that it answered
    seconds: float  # the longest that it took for one
    is_compared: bool  # with the answers of the version's files
    differences: Tuple[Difference, ...]
    unasked: Tuple[str, ...]  # a line for each signature that was not asked
    problems: Tuple[str, ...]


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


def ask_server(
    server: Server,
    model: str,
    version: int,
    signatures: Mapping[str, SavedSignature],
    requests: Sequence[Request],
    expected: Optional[Sequence[Answers]],
    timeout: float,
) -> Answered:
    """Put every request to this version and compare with `expected`, if that is known; `timeout` seconds for each."""
    asked, found, wanted = [], [], []  # type: List[Request], List[Dict[str, np.ndarray]], List[Answers]
    problems, unasked, seconds = [], [], 0.0  # type: List[str], List[str], float
    for number, request in enumerate(requests):
        start = time.monotonic()
        try:
            outputs = _outputs(signatures[request.signature])
        except ValueError as error:
            unasked.append(cant_be_asked(request.signature, str(error)))
            continue
        try:
            answers = server.predict(model, version, request.signature, request.inputs, outputs, timeout)
        except Refused as error:
            reason = explained(str(error))
            if request.is_made_up and expected is None and reason == str(error).strip().rstrip("."):
                unasked.append(cant_be_asked(request.signature, "the server refuses a made-up request: " + reason))
            else:
                problems.append(_problem(request, "the server answers with an error: {}".format(reason)))
        except (Unreachable, ValueError) as error:
            problems.append(_problem(request, "no answer: {}".format(error)))
        else:
            seconds = max(seconds, time.monotonic() - start)
            asked.append(request)
            if expected is not None:
                wanted.append({key: _plain(value) for key, value in expected[number].items()})
                found.append({key: _as_told(answers[key], value) for key, value in wanted[-1].items()})
    differences, differing = find_differences(asked, wanted, found, TOLERANCE)
    return Answered(
        len(asked),
        round(seconds, 3),
        expected is not None,
        tuple(differences),
        tuple(unasked),
        tuple(problems) + tuple("{} (the server's answer, and that of the files)".format(line) for line in differing),
    )


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
        "problems": list(report.problems),
    }


def by_signature(differences: Sequence[Difference]) -> Dict[str, Dict[str, float]]:
    """Signature -> output -> largest difference."""
    found = {}  # type: Dict[str, Dict[str, float]]
    for difference in differences:
        found.setdefault(difference.signature, {})[difference.output] = difference.max_abs
    return found


def _problem(request: Request, text: str) -> str:
    return "{}: {}: {}".format(request.name, request.signature, text)


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
