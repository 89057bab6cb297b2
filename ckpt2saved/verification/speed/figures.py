"""The figures of a measurement: percentiles, throughput, failures by kind, and whether windows agree."""

from __future__ import annotations

import collections
from dataclasses import dataclass
from typing import Any, Dict, Optional, Sequence

import numpy as np

from ckpt2saved.verification.speed.load import Window

STABLE_WINDOWS = 3  # whose p99 have to agree, as perf_analyzer of Triton Inference Server asks of three windows
PERCENTILES = (50, 90, 99)


@dataclass(frozen=True)
class Point:
    """One load of a sweep."""

    concurrency: int  # of a fixed rate: the most requests at a time
    batch: int  # items of each request
    rate: Optional[float] = None  # requests per second; None: closed loop

    def __str__(self) -> str:
        load = f"concurrency {self.concurrency}" if self.rate is None else f"{self.rate:g} requests/s"
        return f"{load}, batch {self.batch}"


@dataclass(frozen=True)
class Row:
    """The figures of one load; seconds are of the requests that were answered."""

    point: Point
    widths: str  # "" where the requests have none
    seconds: float  # of all windows that count
    requests: int  # failed ones included
    lines: int  # of the requests that were answered
    failures: Dict[str, int]  # by kind
    percentiles: Optional[Sequence[float]]  # p50, p90, p99 in seconds; None if all requests failed
    bytes_sent: int
    bytes_received: int
    client_cpu: float  # CPU seconds of this process for each second
    is_stable: bool

    @property
    def answered(self) -> int:
        """The number of requests that were answered."""
        return self.requests - sum(self.failures.values())

    @property
    def requests_per_second(self) -> float:
        return self.answered / self.seconds

    @property
    def lines_per_second(self) -> float:
        return self.lines / self.seconds

    def as_content(self) -> Dict[str, Any]:
        """Return the JSON content."""
        found: Sequence[Optional[float]] = self.percentiles or [None] * len(PERCENTILES)
        return {
            "concurrency": self.point.concurrency,
            "batch": self.point.batch,
            "rate": self.point.rate,
            "widths": self.widths,
            "seconds": self.seconds,
            "requests": self.requests,
            "lines": self.lines,
            "failures": self.failures,
            **{f"p{percent}": value for percent, value in zip(PERCENTILES, found)},
            "requests_per_second": self.requests_per_second,
            "lines_per_second": self.lines_per_second,
            "bytes_sent": self.bytes_sent,
            "bytes_received": self.bytes_received,
            "client_cpu": self.client_cpu,
            "stable": self.is_stable,
        }


def latencies(windows: Sequence[Window]) -> np.ndarray:
    """The seconds of the requests that were answered."""
    return np.array([one.seconds for window in windows for one in window.answers if one.failure is None])


def are_stable(windows: Sequence[Window], tolerance: float) -> bool:
    """Whether the p99 of the last three windows differ by at most this share of the smallest one."""
    last = windows[-STABLE_WINDOWS:]
    found = [latencies([window]) for window in last]
    if len(last) < STABLE_WINDOWS or not all(len(seconds) for seconds in found):
        return False
    tails = [float(np.percentile(seconds, 99)) for seconds in found]
    return max(tails) <= min(tails) * (1 + tolerance)


def row_of(point: Point, widths: str, windows: Sequence[Window], *, is_stable: bool) -> Row:
    """The figures of windows together."""
    answers = [one for window in windows for one in window.answers]
    good = [one for one in answers if one.failure is None]
    found = latencies(windows)
    seconds = sum(window.seconds for window in windows)
    failures = collections.Counter(one.failure for one in answers if one.failure is not None)
    return Row(
        point=point,
        widths=widths,
        seconds=seconds,
        requests=len(answers),
        lines=sum(one.lines for one in good),
        failures=dict(sorted(failures.items())),
        percentiles=[float(value) for value in np.percentile(found, PERCENTILES)] if len(found) else None,
        bytes_sent=sum(one.bytes_sent for one in answers),
        bytes_received=sum(one.bytes_received for one in answers),
        client_cpu=sum(window.cpu_seconds for window in windows) / seconds,
        is_stable=is_stable,
    )
