"""The requests to send to a server, and the expected outputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Collection, Mapping, Optional, Tuple

from ckpt2saved.errors.problem import Note, Problem
from ckpt2saved.requests.gathering import gather_requests
from ckpt2saved.requests.made_up_by_shape import make_by_shape
from ckpt2saved.requests.request import Answers, Request


@dataclass(frozen=True)
class ServerRequests:
    """Requests for a server, and the expected outputs."""

    requests: Tuple[Request, ...]
    expected: Optional[Tuple[Answers, ...]]  # None: unknown
    unasked: Tuple[Note, ...] = ()
    problems: Tuple[Problem, ...] = ()  # of the files themselves
    why_not_compared: str = ""
    without_batch: Mapping[str, Collection[str]] = field(default_factory=dict)  # outputs that cannot be split


def requests_without_answers(directory: Path, why: str) -> ServerRequests:
    """Requests without expected outputs; `why` is the reason, for the narration."""
    gathered = gather_requests(directory, make_by_shape)
    return ServerRequests(gathered.requests, None, gathered.unasked, why_not_compared=why)
