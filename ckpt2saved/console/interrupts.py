"""Signal handlers that raise an exception where Python does not lose it and no object is left half-built."""

from __future__ import annotations

import _weakrefset
import signal
import time
import weakref
from types import FrameType
from typing import Callable, Optional

_PAUSE = 0.01  # seconds between tries
_LONGEST = 2.0  # seconds, after which the exception is raised wherever the program is
# Functions of Python's modules that are called when an object that a weak reference is to is destroyed.
_CALLED_BACK = {
    ("cb", "<frozen importlib._bootstrap>"),
    ("remove", weakref.WeakValueDictionary.copy.__code__.co_filename),
    ("_remove", _weakrefset.WeakSet.copy.__code__.co_filename),
}


class Interrupts:
    """A signal handler that calls `interrupt`, which raises, when no object with a destructor is built or destroyed.

    Python prints the traceback of an exception in a destructor, or in the callback of a weak reference, such as that of
    the lock of a module that was imported, and goes on. So it does where the destructor fails for
    an interrupted constructor: `tf.compat.v1.Session.__del__` reads an attribute that `__init__` sets. The handler
    postpones the call, by SIGALRM.
    """

    def __init__(self, interrupt: Callable[[], None]) -> None:
        self.is_asked_for = False
        self._interrupt = interrupt
        self._until: Optional[float] = None

    def __call__(self, number: int, frame: Optional[FrameType]) -> None:
        self.is_asked_for = True
        now = time.monotonic()
        if self._until is None:
            self._until = now + _LONGEST
        if now < self._until and _is_building_or_destroying(frame):
            signal.signal(signal.SIGALRM, self)
            signal.setitimer(signal.ITIMER_REAL, _PAUSE)
            return
        self._until = None
        self._interrupt()


def interrupt() -> None:
    """Raise KeyboardInterrupt."""
    raise KeyboardInterrupt


def _is_building_or_destroying(frame: Optional[FrameType]) -> bool:
    while frame is not None:
        code = frame.f_code
        if code.co_name == "__del__" or (code.co_name, code.co_filename) in _CALLED_BACK:
            return True
        if code.co_name == "__init__" and code.co_argcount:
            if hasattr(type(frame.f_locals.get(code.co_varnames[0])), "__del__"):
                return True
        frame = frame.f_back
    return False
