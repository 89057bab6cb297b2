"""Shared by commands that run until they are stopped: events, a request to stop, pauses after failures."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import Any, Callable, Iterator, Mapping

_LONGEST_PAUSE = 600.0  # seconds between tries
_SLICE = 0.2  # seconds, in which a signal is noticed


@dataclass(frozen=True)
class Event:
    """Something that happened: for programs its kind and content, for people a text."""

    kind: str
    text: str
    content: Mapping[str, Any]


Emit = Callable[[Event], None]


class Stopped(BaseException):
    """The command was asked to stop; as KeyboardInterrupt, it passes what handles errors."""


class Stop:
    """A request to stop, as a signal handler makes it."""

    def __init__(self) -> None:
        self.is_requested = False
        self._interrupts = False

    def request(self) -> None:
        """Ask to stop; raises Stopped inside of interrupting()."""
        self.is_requested = True
        if self._interrupts:
            self._interrupts = False  # a second signal must not disturb the cleanup
            raise Stopped

    def check(self) -> None:
        """Raise Stopped if it was requested."""
        if self.is_requested:
            raise Stopped

    def wait(self, seconds: float) -> None:
        """Sleep; raises Stopped soon after the request."""
        until = time.monotonic() + seconds
        while True:
            self.check()
            rest = until - time.monotonic()
            if rest <= 0:
                return
            time.sleep(min(rest, _SLICE))

    @contextlib.contextmanager
    def interrupting(self) -> Iterator[None]:
        """Context of the main thread that a request ends at once, for work that takes long and can be thrown away."""
        self._interrupts = True
        try:
            self.check()
            yield
        finally:
            self._interrupts = False
        self.check()  # a library may have lost the exception


class Retry:
    """The pause after failures; twice as long after each."""

    def __init__(self, first: float) -> None:
        self._first = first
        self._failures = 0
        self._until = 0.0

    @property
    def is_waiting(self) -> bool:
        """Whether the pause is not over."""
        return self.seconds > 0

    @property
    def seconds(self) -> float:
        """The rest of the pause."""
        return max(self._until - time.monotonic(), 0.0)

    def failed(self) -> None:
        """Begin a pause."""
        longest = max(_LONGEST_PAUSE, self._first)
        self._until = time.monotonic() + min(self._first * 2**self._failures, longest)
        self._failures = min(self._failures + 1, 30)

    def clear(self) -> None:
        """End the pause; the next one is short again."""
        self._failures, self._until = 0, 0.0
