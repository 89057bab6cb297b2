"""Whether the current call may use GPUs: by default it does not, because a training may be using them."""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from typing import Iterator

_uses_gpus: ContextVar[bool] = ContextVar("uses_gpus", default=False)


@contextlib.contextmanager
def gpus(allowed: bool) -> Iterator[None]:
    """Context in which sessions and processes of this thread use GPUs, or do not."""
    token = _uses_gpus.set(allowed)
    try:
        yield
    finally:
        _uses_gpus.reset(token)


def uses_gpus() -> bool:
    """Return whether sessions and processes may use GPUs."""
    return _uses_gpus.get()
