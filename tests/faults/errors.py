"""Failing system calls at every stage."""

from __future__ import annotations

import errno
import sys
from typing import Iterator, NamedTuple, Sequence, Tuple

from tests.faults.figures import Figures
from tests.faults.interposer import ALL, CHANGES, Fault, Kind
from tests.faults.judging import numbers_in
from tests.faults.kills import number_of_calls
from tests.faults.operations import OPERATIONS, VERSIONS, Lab, Operation, crashes, leftovers


class Failure(NamedTuple):
    """An errno, the calls that it happens to, and whether it lasts."""

    code: int
    kinds: Kind
    persists: bool

    @property
    def name(self) -> str:
        return errno.errorcode[self.code] + (" that lasts" if self.persists else "")


FAILURES: Tuple[Failure, ...] = (
    Failure(errno.ENOSPC, Kind.DIRECTORY | Kind.WRITE | Kind.SYNC, True),
    Failure(errno.ENOSPC, Kind.DIRECTORY | Kind.WRITE | Kind.SYNC, False),
    Failure(errno.EROFS, CHANGES & ~Kind.SYNC, True),
    Failure(errno.EIO, ALL, False),
    Failure(errno.EIO, ALL, True),
    Failure(errno.EACCES, ALL & ~Kind.SYNC, False),
    Failure(errno.EACCES, Kind.DIRECTORY | Kind.MODE, True),
    Failure(errno.ESTALE, ALL, False),
)


def fail_at_every_call(
    lab: Lab, most: int = sys.maxsize, operations: Sequence[Operation] = OPERATIONS
) -> Iterator[Figures]:
    """Each operation with each failure, at each call, or evenly at `most` of them."""
    for operation in operations:
        figures = Figures(f"fail at every call: {operation.name}")
        for failure in FAILURES:
            calls = number_of_calls(lab, operation, failure.kinds)
            for at in range(1, calls + 1, -(-calls // most)):
                _fail(lab, operation, failure, at, figures)
        yield figures.finished()


def fail_readers(lab: Lab, most: int = sys.maxsize) -> Figures:
    """Commands that only read, with each failure: messages, no tracebacks, and nothing is changed."""
    figures = Figures("fail at every call: list, diff, dry runs")
    base = lab.fresh()
    for argv in (
        ("list", base),
        ("list", base, "--deep", "--json"),
        ("diff", base / "1", base / "2"),
        ("bump-version", base, "--dry-run"),
        ("prune", base, "--keep", "1", "--dry-run"),
    ):
        calls = lab.launcher.run(argv, fault=Fault(str(base))).calls
        for code in (errno.EIO, errno.EACCES, errno.ESTALE):
            for persists in (False, True):
                for at in range(1, calls + 1, -(-calls // most)):
                    ended = lab.launcher.run(argv, fault=Fault(str(base), ALL, at, code, persists))
                    figures.ended(ended)
                    figures.errors += 1
                    figures.found(f"{argv[0]}, {errno.errorcode[code]} at call {at}", crashes(ended), 0)
    left = sorted(path.name for path in base.iterdir())
    if left != [str(number) for number in range(1, VERSIONS + 1)]:
        figures.problems.append(f"changed: {left}")
    lab.drop(base)
    return figures.finished()


def _fail(lab: Lab, operation: Operation, failure: Failure, at: int, figures: Figures) -> None:
    base = lab.fresh(operation.versions)
    below = operation.failing_below(base, lab, failure.kinds)
    fault = Fault(below, failure.kinds, at, failure.code, failure.persists)
    ended = lab.launcher.run(operation.argv(base, lab), fault=fault)
    figures.ended(ended)
    figures.errors += 1
    problems = lab.problems(operation, base, ended)
    versions = len(numbers_in(base))
    if leftovers(base):
        problems += lab.problems_after_next_run(base)
    figures.found(f"{operation.name}, {failure.name} at call {at}", problems, versions)
    lab.drop(base)
