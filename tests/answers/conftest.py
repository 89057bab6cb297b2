"""The processes that a test starts."""

from __future__ import annotations

import pytest

from ckpt2saved.answers import worker


@pytest.fixture
def processes(monkeypatch):
    """The processes that are started, none of which other tests have used."""
    started = []
    start = worker._started

    def recorded(*arguments):
        started.append(start(*arguments))
        return started[-1]

    monkeypatch.setattr(worker, "_idle", worker._Idle())
    monkeypatch.setattr(worker, "_started", recorded)
    return started
