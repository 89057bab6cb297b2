"""How far answers differ from those that they should be: integers and texts not at all, floats by rounding alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Sequence, Tuple

import numpy as np

Answers = Mapping[str, np.ndarray]  # by the key of a signature's output


@dataclass(frozen=True)
class Tolerance:
    """How far floats may differ: by `relative` of the sum of their tensor's largest value and `floor`."""

    relative: float
    floor: float


@dataclass(frozen=True)
class Difference:
    """The largest difference found in an output of a signature."""

    signature: str
    output: str
    max_abs: float
    max_value: float  # the largest absolute value that it should have


def find_differences(
    asked: Sequence[Any], expected: Sequence[Answers], found: Sequence[Answers], tolerance: Tolerance
) -> Tuple[List[Difference], List[str]]:
    """The largest difference of each output of each signature, and a line for each that is too large.

    `asked` are Questions or Requests.
    """
    largest: Dict[Tuple[str, str], Difference] = {}
    problems: List[str] = []
    for question, wanted, answers in zip(asked, expected, found):
        for key, value in wanted.items():
            difference, problem = find_difference(value, answers[key], tolerance)
            if problem:
                problems.append(f"{question.name}: {question.signature}.{key}: {problem}")
            place = (question.signature, key)
            if place not in largest or difference > largest[place].max_abs:
                size = float(np.max(np.abs(value))) if value.size and value.dtype.kind in "fiub" else 0.0
                largest[place] = Difference(question.signature, key, difference, size)
    return list(largest.values()), problems


def find_difference(wanted: np.ndarray, found: np.ndarray, tolerance: Tolerance) -> Tuple[float, str]:
    """The largest absolute difference, and what is wrong with it; anything but floats must be equal."""
    if wanted.shape != found.shape or wanted.dtype != found.dtype:
        text = f"{wanted.dtype} {list(wanted.shape)} expected, {found.dtype} {list(found.shape)} found"
        return float("inf"), text
    if not np.issubdtype(wanted.dtype, np.floating):
        unequal = int(np.sum(wanted != found))
        return float(unequal), f"{unequal} of {wanted.size} values differ" if unequal else ""
    if not wanted.size:
        return 0.0, ""
    same = wanted == found  # infinities too
    gaps = np.where(same, 0, np.abs(np.where(same, 0, wanted) - np.where(same, 0, found)))
    size = float(np.max(np.abs(np.where(np.isinf(wanted), 0, wanted))))
    largest, limit = float(np.max(gaps)), tolerance.relative * (tolerance.floor + size)
    if largest <= limit:
        return largest, ""
    return largest, f"values differ by up to {largest:.3g}, where {limit:.1g} is allowed"
