"""Measure targets under the loads of a sweep: one in windows one after the other, several in windows in turns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence, Tuple

from ckpt2saved.answers.timed_process import MOST_THREADS
from ckpt2saved.console.say import Say, begin, progress_of, silent
from ckpt2saved.errors import UsageError
from ckpt2saved.requests.request import Request
from ckpt2saved.verification.speed.comparison import Comparison, compare
from ckpt2saved.verification.speed.figures import STABLE_WINDOWS, Point, Row, are_stable, latencies, row_of
from ckpt2saved.verification.speed.load import Load, Window
from ckpt2saved.verification.speed.profiles import BatchProfile
from ckpt2saved.verification.speed.target import Target, labels_of
from ckpt2saved.verification.speed.workload import Workload

CONCURRENCIES = (1, 2, 4, 8)
MOST_AT_A_TIME = 64  # requests of a fixed rate
_LEAST_PAIRS = 5  # windows of each target in a comparison
_SETTLING = 0.5  # part of a window that passes before the first one, at most
_MOST_SETTLING = 2.0  # seconds
BUSY_CLIENT = 0.7  # CPU seconds of each second, above which Python threads wait for each other


@dataclass(frozen=True)
class Windows:
    """How long each load is measured."""

    seconds: float = 3.0
    least: int = 20  # requests of a window, which lasts longer if fewer have ended
    most: int = 10
    tolerance: float = 0.1  # of the p99 of three windows


@dataclass(frozen=True)
class Measured:
    """The rows of one target."""

    target: Target
    rows: Tuple[Row, ...]


@dataclass(frozen=True)
class Result:
    """All rows, and of two targets the comparison for each load."""

    measured: Tuple[Measured, ...]
    comparisons: Tuple[Comparison, ...] = ()
    profiles: Tuple[Tuple[BatchProfile, ...], ...] = ()  # of each target; () if none were asked for


def sweep_points(
    concurrencies: Optional[Sequence[int]], batches: Sequence[int], rates: Optional[Sequence[float]]
) -> Tuple[Point, ...]:
    """All combinations; with rates, the highest concurrency is the most requests at a time. Raises UsageError."""
    if max(concurrencies or (1,)) > MOST_THREADS:
        raise UsageError(
            f"--concurrency {max(concurrencies or ())}: expected at most {MOST_THREADS} requests at a time"
        )
    if rates:
        most = max(concurrencies or (MOST_AT_A_TIME,))
        return tuple(Point(most, batch, rate) for batch in batches for rate in rates)
    return tuple(Point(number, batch) for batch in batches for number in concurrencies or CONCURRENCIES)


def measure(
    targets: Sequence[Target],
    workloads: Sequence[Workload],
    points: Sequence[Point],
    windows: Windows,
    say: Say = silent,
) -> Result:
    """Measure each load on all targets; raises NotServable if the process of a version ends."""
    rows: List[List[Row]] = [[] for _ in targets]
    labels = labels_of(targets)
    comparisons: List[Comparison] = []
    by_batch: Dict[int, List[List[Request]]] = {}  # of each target; they are encoded once, for all loads of this size
    for point in points:
        begin(say, f"measuring {point}")
        if point.batch not in by_batch:
            by_batch[point.batch] = [workload.requests(point.batch) for workload in workloads]
        requests = by_batch[point.batch]
        for target, sent in zip(targets, requests):
            target.prepare(sent)
        if len(targets) == 1:
            found = [_alone(targets[0], requests[0], point, windows, say)]
        else:
            found = _in_turns(targets, requests, point, windows, say)
        for number, measured in enumerate(found):
            chosen = measured if len(targets) > 1 else measured[-STABLE_WINDOWS:]
            is_stable = are_stable(measured, windows.tolerance)
            row = row_of(point, workloads[number].widths, chosen, is_stable=is_stable)
            rows[number].append(row)
            _tell(say, labels[number] if len(targets) > 1 else "", row)
        if len(targets) == 2:
            comparisons.append(compare(point, found[0], found[1]))
    return Result(tuple(Measured(target, tuple(one)) for target, one in zip(targets, rows)), tuple(comparisons))


def try_out(target: Target, workload: Workload) -> None:
    """Send one request, not measured; raises the error of the target if it fails."""
    target.answers(workload.requests(1)[0])


def _alone(target: Target, requests: Sequence[Request], point: Point, windows: Windows, say: Say) -> List[Window]:
    """Windows of one load that does not pause, until three agree or have no answers, or there are the most."""
    found: List[Window] = []
    with Load(target, requests, point.concurrency, point.rate) as load:
        _settle(load, point, windows)
        while len(found) < windows.most and not are_stable(found, windows.tolerance):
            if len(found) >= STABLE_WINDOWS and not len(latencies(found[-STABLE_WINDOWS:])):
                break  # the server has ended, or refuses these requests
            found.append(load.window(windows.seconds, windows.least))
            progress_of(say)(f"{point}: window {len(found)}")
    return found


def _in_turns(
    targets: Sequence[Target],
    requests: Sequence[Sequence[Request]],
    point: Point,
    windows: Windows,
    say: Say,
) -> List[List[Window]]:
    """As many windows of each target, of which one at a time is under load: first, second, second, first, ..."""
    found: List[List[Window]] = [[] for _ in targets]
    while len(found[0]) < windows.most:
        if len(found[0]) >= _LEAST_PAIRS and all(are_stable(one, windows.tolerance) for one in found):
            break
        order = list(range(len(targets)))
        for number in order if len(found[0]) % 2 == 0 else reversed(order):
            with Load(targets[number], requests[number], point.concurrency, point.rate) as load:
                _settle(load, point, windows)
                found[number].append(load.window(windows.seconds, windows.least))
        progress_of(say)(f"{point}: window {len(found[0])} of each")
    return found


def _settle(load: Load, point: Point, windows: Windows) -> None:
    """Wait until the load is even: each thread has had an answer, in a closed loop."""
    load.window(min(windows.seconds * _SETTLING, _MOST_SETTLING), point.concurrency if point.rate is None else 1)


def _tell(say: Say, name: str, row: Row) -> None:
    p50 = "no answers" if row.percentiles is None else f"p50 {row.percentiles[0] * 1e3:.1f} ms"
    say("measured", f"{name + ': ' if name else ''}{row.point}: {p50}, {row.lines_per_second:.1f} lines/s")
    if row.client_cpu > BUSY_CLIENT:
        say("client", f"this client took {row.client_cpu:.2f} CPUs: the figures may be those of the client")
    rate = row.point.rate
    if rate is not None and row.answered and row.requests_per_second < 0.9 * rate:
        say("overload", f"{row.requests_per_second:.1f} of {rate:g} requests/s were answered: latencies grow with time")
