"""Version policies and version labels of a model."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Iterable, Optional, Tuple

from ckpt2saved.files.protobuf import text_format

LATEST, ALL, SPECIFIC = "latest", "all", "specific"
_POLICY = re.compile(r"(?:latest(?::([0-9]{1,4}))?|(all)|specific:([0-9]{1,18}(?:,[0-9]{1,18})*))\Z")
_LABEL = re.compile(r"([A-Za-z0-9_]+)=([0-9]{1,18})\Z")


@dataclass(frozen=True)
class Policy:
    """The versions to load: the newest `count`, all, or `numbers`."""

    kind: str = LATEST
    count: int = 1
    numbers: Tuple[int, ...] = ()

    def selects(self, published: Iterable[int]) -> Tuple[int, ...]:
        """Return the published numbers that a server would load, newest first."""
        newest_first = sorted(set(published), reverse=True)
        if self.kind == SPECIFIC:
            return tuple(number for number in newest_first if number in self.numbers)
        return tuple(newest_first if self.kind == ALL else newest_first[: self.count])

    def __str__(self) -> str:
        if self.kind == SPECIFIC:
            return f"{SPECIFIC}:{','.join(map(str, self.numbers))}"
        return f"latest:{self.count}" if self.kind == LATEST and self.count > 1 else self.kind


@dataclass(frozen=True)
class Label:
    """A name that clients use for a version."""

    name: str
    number: int


def parse_policy(text: str) -> Tuple[Optional[str], Policy]:
    """Parse [MODEL=]latest[:COUNT], [MODEL=]all or [MODEL=]specific:N,N into model (or None) and policy."""
    model, _, policy = text.rpartition("=")
    match = _POLICY.match(policy)
    if match is None or match.group(1) and int(match.group(1)) == 0:
        raise ValueError(f"{policy!r} is not latest, latest:2, all or specific:3,4")
    count, every, numbers = match.groups()
    if numbers:
        return model or None, Policy(SPECIFIC, numbers=tuple(sorted({int(number) for number in numbers.split(",")})))
    return model or None, Policy(ALL) if every else Policy(count=int(count or 1))


def read_policy(message: Any) -> Optional[Policy]:
    """Return the policy of a parsed model_version_policy: latest if None or empty; None if malformed."""
    try:
        for name, value in message or ():
            if name == LATEST:
                return Policy(count=int((text_format.values(value, "num_versions") or [1])[-1]) or 1)
            if name == ALL:
                return Policy(ALL)
            if name == SPECIFIC:
                return Policy(SPECIFIC, numbers=tuple(int(number) for number in text_format.values(value, "versions")))
    except (TypeError, ValueError):
        return None
    return Policy()


def parse_label(text: str) -> Tuple[Optional[str], Label]:
    """Parse [MODEL:]LABEL=N into model (or None) and label."""
    model, _, label = text.rpartition(":")
    match = _LABEL.match(label)
    if match is None:
        raise ValueError(f"{text!r} is not LABEL=N, as in stable=3, or MODEL:LABEL=N")
    return model or None, Label(match.group(1), int(match.group(2)))
