"""The load on a target: threads that send requests, one after the other or at planned times."""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Callable, List, Optional, Sequence, Type

from ckpt2saved.errors import UsageError
from ckpt2saved.requests.request import Request
from ckpt2saved.verification.speed.target import Answered, Target

_LOOK_SECONDS = 0.02  # between two looks at the number of answers


@dataclass(frozen=True)
class Sample:
    """An answered or failed request, and when it ended."""

    end: float  # seconds of time.perf_counter
    answered: Answered


@dataclass(frozen=True)
class Window:
    """What ended within a window of time."""

    seconds: float
    cpu_seconds: float  # of this process
    answers: Sequence[Answered]


class Load:
    """Threads that send the requests in turns until the context ends.

    Without a rate each thread sends its next request when the last one is answered. With a rate the requests have
    planned times, and their seconds count from those: a request that had to wait for a slow server, because all
    `concurrency` threads were still waiting for answers, has waited as its client would have.
    """

    def __init__(self, target: Target, requests: Sequence[Request], concurrency: int, rate: Optional[float]) -> None:
        """`rate` in requests per second; None: closed loop."""
        self._target = target
        self._requests = requests
        self._rate = rate
        self._numbers = itertools.count()
        self._samples: List[Sample] = []
        self._ended = threading.Event()
        self._error: Optional[BaseException] = None
        self._has_error = threading.Event()
        self._start = 0.0
        work: Callable[[], None] = self._closed_loop if rate is None else self._planned
        self._threads = [threading.Thread(target=self._guarded, args=(work,), daemon=True) for _ in range(concurrency)]

    def __enter__(self) -> Load:
        self._start = time.perf_counter()
        for number, thread in enumerate(self._threads):
            try:
                thread.start()
            except RuntimeError as error:  # a limit on threads
                self._ended.set()
                raise UsageError(
                    f"--concurrency {len(self._threads)}: the system starts only {number} threads ({error}); expected"
                    " fewer requests at a time"
                ) from error
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        """End the threads; after an interrupt they end by themselves, when their requests are answered."""
        self._ended.set()
        if kind is None:
            for thread in self._threads:
                thread.join()

    def window(self, seconds: float, least: int) -> Window:
        """Wait until the window is over: after `seconds`, and not before `least` requests have ended in it."""
        first = len(self._samples)
        cpu, begin = time.process_time(), time.perf_counter()
        while True:
            if self._error is not None:
                raise self._error
            left = begin + seconds - time.perf_counter()
            if left <= 0 and len(self._samples) - first >= least:
                break
            self._has_error.wait(left if left > 0 else _LOOK_SECONDS)
        end, cpu = time.perf_counter(), time.process_time() - cpu
        ended = [sample.answered for sample in self._samples[first:] if sample.end <= end]
        return Window(end - begin, cpu, ended)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # raised again in window()
            self._error = self._error or error
            self._has_error.set()

    def _closed_loop(self) -> None:
        while not self._ended.is_set():
            self._keep(self._target.predict(self._request(next(self._numbers))))

    def _planned(self) -> None:
        assert self._rate is not None
        while True:
            number = next(self._numbers)
            planned = self._start + number / self._rate
            if self._ended.wait(max(planned - time.perf_counter(), 0)):
                return
            answered = self._target.predict(self._request(number))
            self._keep(replace(answered, seconds=time.perf_counter() - planned))

    def _request(self, number: int) -> Request:
        return self._requests[number % len(self._requests)]

    def _keep(self, answered: Answered) -> None:
        self._samples.append(Sample(time.perf_counter(), answered))
