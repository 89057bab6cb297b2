"""Renaming of variables by regular expressions with a time limit."""

from __future__ import annotations

import contextlib
import re
import signal
import threading
import time
from typing import Any, Dict, Iterator, Sequence, Tuple

from ckpt2saved.errors import UsageError

MOST_SECONDS = 5.0  # for all the names together; they take milliseconds
_LONGEST = 10000  # characters of a name


def check_rule(pattern: str, replacement: str) -> None:
    """Raise ValueError unless this is a regular expression with a valid replacement."""
    try:
        compiled = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
    try:
        compiled.sub(replacement, "")
    except (re.error, IndexError, KeyError) as error:
        raise ValueError(f"{replacement!r} is not a valid replacement for matches of {pattern!r}: {error}") from None


class Renaming:
    """A function of a name that applies the rules in order."""

    def __init__(self, rules: Sequence[Tuple[str, str]], seconds: float = MOST_SECONDS) -> None:
        self.rules = tuple(rules)
        self.left = seconds
        self.made: Dict[str, str] = {}

    def __call__(self, name: str) -> str:
        if name not in self.made:
            self.made[name] = self._renamed(name)
        return self.made[name]

    def _renamed(self, name: str) -> str:
        new = name
        for pattern, replacement in self.rules:
            start = time.monotonic()
            try:
                with _at_most(max(self.left, 0.001)):
                    new = re.sub(pattern, replacement, new)
            except _TooLong:
                raise UsageError(
                    f"--map {pattern}={replacement}: the names of variables took more than {MOST_SECONDS:g} s, and"
                    f" {name[:200]} was not done; repeats within repeats, as in (a*)*, can take for ever: write it"
                    " without them"
                ) from None
            self.left -= time.monotonic() - start
            if len(new) > _LONGEST:
                raise UsageError(
                    f"--map {pattern}={replacement}: it makes a name of {len(new)} characters of {name[:200]}; at most"
                    f" {_LONGEST} are expected"
                )
        return new


class _TooLong(Exception):
    """The time limit was exceeded."""


@contextlib.contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Raise _TooLong if the block takes longer; a signal is the only way to interrupt the regex engine.

    No limit outside the main thread, since only the main thread gets signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: Any) -> None:
        raise _TooLong

    before, start = signal.signal(signal.SIGALRM, stop), time.monotonic()
    left = interval = 0.0
    try:
        left, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if left:  # another program's timer
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - start), 1e-6), interval)
