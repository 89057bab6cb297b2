"""The figures of the fault suite, as a table and as JSON."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any, Dict, Iterable, List

from tests.faults.launcher import Ended
from tests.faults.operations import crashes
from tests.faults.watcher import Seen

_COLUMNS = ("cases", "kills", "failed calls", "versions", "judgements", "partial", "lost", "crashes", "seconds")


@dataclass
class Figures:
    """What one part of the suite did and saw; `problems` breaks a promise, and is empty."""

    name: str
    cases: int = 0
    kills: int = 0
    errors: int = 0  # injected
    versions: int = 0  # judged, by a watcher or after a case
    judgements: int = 0
    partial: int = 0
    lost: int = 0
    crashes: int = 0
    seconds: float = 0.0
    problems: List[str] = field(default_factory=list)
    start: float = field(default_factory=time.monotonic)

    def ended(self, ended: Ended) -> None:
        """Count a process."""
        self.kills += ended.was_killed
        self.crashes += bool(crashes(ended))

    def saw(self, seen: Seen) -> None:
        """Count what a watcher saw."""
        self.versions += seen.versions
        self.judgements += seen.judgements
        self.partial += len(seen.partial)
        self.lost += len(seen.lost)
        self.problems += seen.problems

    def found(self, where: str, problems: Iterable[str], versions: int) -> None:
        """Count what was found after a case."""
        self.cases += 1
        self.versions += versions
        self.judgements += versions
        for problem in problems:
            self.partial += "expected one of" in problem or "Error" in problem.partition(" ")[2][:40]
            self.lost += problem.startswith("lost")
            self.problems.append(f"{where}: {problem}")

    def finished(self) -> Figures:
        self.seconds = round(time.monotonic() - self.start, 1)
        return self

    def as_content(self) -> Dict[str, Any]:
        content = asdict(self)
        del content["start"]
        return content


def table(all_figures: Iterable[Figures]) -> str:
    """Return the table, with a line for each part and one for all."""
    rows = [("", *_COLUMNS)]
    total = Figures("all")
    for one in all_figures:
        rows.append(_row(one))
        for key, value in one.as_content().items():
            if isinstance(value, (int, float)):
                setattr(total, key, getattr(total, key) + value)
    rows.append(_row(total))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))])
        for row in rows
    )


def _row(one: Figures) -> tuple[str, ...]:
    numbers = (one.cases, one.kills, one.errors, one.versions, one.judgements, one.partial, one.lost, one.crashes)
    return (one.name, *map(str, numbers), f"{one.seconds:.0f}")
