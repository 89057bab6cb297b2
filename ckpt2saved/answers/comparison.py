"""Compare outputs with expected outputs: integers and strings exactly, floats within a tolerance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Sequence, Tuple

import numpy as np

from ckpt2saved.errors.problem import Problem
from ckpt2saved.requests.request import Answers, Request


@dataclass(frozen=True)
class Tolerance:
    """The allowed difference of floats: `relative` * (`floor` + largest absolute value of the tensor)."""

    relative: float
    floor: float


@dataclass(frozen=True)
class Difference:
    """The largest difference in one output of a signature."""

    signature: str
    output: str
    max_abs: float
    max_value: float  # largest absolute expected value


@dataclass(frozen=True)
class Comparison:
    """The differences between outputs and expected outputs."""

    differences: Tuple[Difference, ...] = ()  # the largest one for each output of each signature
    problems: Tuple[Problem, ...] = ()  # one for each difference that is too large

    @property
    def max_abs(self) -> float:
        """The largest difference of all outputs."""
        return max((difference.max_abs for difference in self.differences), default=0.0)

    def by_signature(self) -> Dict[str, Dict[str, float]]:
        """Signature -> output -> largest difference."""
        found: Dict[str, Dict[str, float]] = {}
        for difference in self.differences:
            found.setdefault(difference.signature, {})[difference.output] = difference.max_abs
        return found


# Two sessions of one TensorFlow may sum in a different order: about 1e-6 of the largest value of a tensor.
SAME_TENSORFLOW = Tolerance(1e-4, 1.0)
# Another TensorFlow version, CPU type or a GPU changes the order of sums more.
OTHER_TENSORFLOW = Tolerance(1e-3, 1e-6)


def compare(
    requests: Sequence[Request],
    expected: Sequence[Answers],
    found: Sequence[Answers],
    tolerance: Tolerance = SAME_TENSORFLOW,
) -> Comparison:
    """Compare the outputs `found` with `expected`, request by request; only the expected outputs are compared."""
    largest: Dict[Tuple[str, str], Difference] = {}
    problems: List[Problem] = []
    for request, outputs, answers in zip(requests, expected, found):
        for key, value in outputs.items():
            difference, problem = find_difference(value, answers[key], tolerance)
            if problem:
                problems.append(Problem("different-answer", f"{request.name}: {request.signature}.{key}", problem))
            place = (request.signature, key)
            if place not in largest or difference > largest[place].max_abs:
                size = float(np.max(np.abs(value))) if value.size and value.dtype.kind in "fiub" else 0.0
                largest[place] = Difference(request.signature, key, difference, size)
    return Comparison(tuple(largest.values()), tuple(problems))


def nan_problems(requests: Sequence[Request], answers: Sequence[Answers]) -> Tuple[Problem, ...]:
    """One problem for each output that contains NaN."""
    return tuple(
        Problem(
            "nan-answer",
            f"{request.name}: {request.signature}.{key}",
            f"{int(np.isnan(value).sum())} of {value.size} values are NaN",
        )
        for request, answer in zip(requests, answers)
        for key, value in answer.items()
        if np.issubdtype(value.dtype, np.floating) and np.isnan(value).any()
    )


def find_difference(expected: np.ndarray, found: np.ndarray, tolerance: Tolerance) -> Tuple[float, str]:
    """The largest absolute difference, and a text that describes the mismatch ("" if there is none)."""
    if expected.shape != found.shape or expected.dtype != found.dtype:
        text = f"{expected.dtype} {list(expected.shape)} expected, {found.dtype} {list(found.shape)} found"
        return float("inf"), text
    if not np.issubdtype(expected.dtype, np.floating):
        unequal = int(np.sum(expected != found))
        return float(unequal), f"{unequal} of {expected.size} values differ" if unequal else ""
    if not expected.size:
        return 0.0, ""
    same = expected == found  # infinities too
    gaps = np.where(same, 0, np.abs(np.where(same, 0, expected) - np.where(same, 0, found)))
    size = float(np.max(np.abs(np.where(np.isinf(expected), 0, expected))))
    largest, limit = float(np.max(gaps)), tolerance.relative * (tolerance.floor + size)
    if largest <= limit:
        return largest, ""
    return largest, f"values differ by up to {largest:.3g}, where {limit:.1g} is allowed"
