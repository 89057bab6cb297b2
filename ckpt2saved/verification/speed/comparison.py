"""Compare two targets that were measured in turns, with confidence intervals by bootstrap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Sequence, Tuple

import numpy as np

from ckpt2saved.verification.speed.figures import Point, latencies
from ckpt2saved.verification.speed.load import Window

CONFIDENCE = 0.95
_RESAMPLES = 1000
_TAILS = (50 * (1 - CONFIDENCE), 100 - 50 * (1 - CONFIDENCE))  # percentiles of the interval

Pair = Tuple[Window, Window]


@dataclass(frozen=True)
class Ratio:
    """A figure of the second target divided by that of the first, and its confidence interval."""

    value: float
    low: float
    high: float

    def as_content(self) -> Dict[str, float]:
        """Return the JSON content."""
        return {"ratio": self.value, "low": self.low, "high": self.high}

    @property
    def differs(self) -> bool:
        """Whether the interval does not contain 1."""
        return not self.low <= 1 <= self.high


@dataclass(frozen=True)
class Comparison:
    """The second target beside the first, under one load; without ratios if one of them has answered nothing."""

    point: Point
    ratios: Dict[str, Ratio]  # of p50, p99, requests_per_second

    def as_content(self) -> Dict[str, Any]:
        """Return the JSON content."""
        load = {"concurrency": self.point.concurrency, "batch": self.point.batch, "rate": self.point.rate}
        return {**load, **{name: ratio.as_content() for name, ratio in self.ratios.items()}}


def compare(point: Point, first: Sequence[Window], second: Sequence[Window]) -> Comparison:
    """The ratios of windows that were measured in turns.

    Resampled are the pairs of windows, since what happened on the machine is common to neighbours, and within each the
    requests (Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8).
    """
    pairs = [pair for pair in zip(first, second) if all(len(latencies([window])) for window in pair)]
    if not pairs:
        return Comparison(point, {})
    random = np.random.RandomState(0)
    seconds = [(latencies([one]), latencies([other])) for one, other in pairs]
    lengths = [(one.seconds, other.seconds) for one, other in pairs]
    drawn = [random.randint(0, len(pairs), len(pairs)).tolist() for _ in range(_RESAMPLES)]

    def percentile(percent: int) -> Callable[[Sequence[int], bool], float]:
        def of(chosen: Sequence[int], resamples: bool) -> float:
            sides = [_pooled([seconds[number][side] for number in chosen], random, resamples) for side in (0, 1)]
            return float(np.percentile(sides[1], percent) / np.percentile(sides[0], percent))

        return of

    def throughput(chosen: Sequence[int], resamples: bool) -> float:
        rates = [
            sum(len(seconds[number][side]) for number in chosen) / sum(lengths[number][side] for number in chosen)
            for side in (0, 1)
        ]
        return rates[1] / rates[0]

    statistics = {"p50": percentile(50), "p99": percentile(99), "requests_per_second": throughput}
    return Comparison(point, {name: _ratio(one, len(pairs), drawn) for name, one in statistics.items()})


def _ratio(statistic: Callable[[Sequence[int], bool], float], count: int, drawn: Sequence[Sequence[int]]) -> Ratio:
    low, high = np.percentile([statistic(chosen, True) for chosen in drawn], _TAILS)
    return Ratio(statistic(range(count), False), float(low), float(high))


def _pooled(groups: Sequence[np.ndarray], random: np.random.RandomState, resamples: bool) -> np.ndarray:
    """The values of all groups; with `resamples` each group drawn from its own values with replacement."""
    found: List[np.ndarray] = [random.choice(one, len(one)) if resamples else one for one in groups]
    return np.concatenate(found)
