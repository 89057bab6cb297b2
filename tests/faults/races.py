"""Many processes at once on one base: writers, prunes, rollbacks, readers, also through two mount points."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Iterator, List, Sequence

from tests.faults.figures import Figures
from tests.faults.judging import numbers_in, problems_in
from tests.faults.launcher import PUBLISH, Argv, Ended
from tests.faults.mounts import bound
from tests.faults.operations import KEEP, Lab, crashes, leftovers
from tests.faults.watcher import watching

_HEAD_START = 0.3  # seconds in which all processes are forked


def run_at_once(lab: Lab, programs: Sequence[Sequence[Argv]]) -> List[Ended]:
    """Run each list of commands in a process of its own, all from the same instant on."""
    after = time.monotonic() + _HEAD_START
    running = [lab.launcher.start(*commands, after=after) for commands in programs]
    return [one.wait() for one in running]


def writers(lab: Lab, count: int = 32, each: int = 3) -> Figures:
    """All publish into a base that does not exist: each number exactly once."""
    figures = Figures(f"{count} writers at once")
    base = lab.fresh(0)
    base.mkdir()
    with watching(base, lab.contents) as watched:
        ended = run_at_once(lab, [[(PUBLISH, base, lab.source)] * each for _ in range(count)])
    figures.saw(watched.seen)
    problems = [problem for one in ended for problem in _failures(one)]
    printed = sorted(int(Path(line).name) for one in ended for line in one.out.split())
    if printed != list(range(1, count * each + 1)) or numbers_in(base) != printed:
        problems.append(f"printed {printed}, published {numbers_in(base)}")
    problems += [f"left over: {name}" for name in leftovers(base)]
    for one in ended:
        figures.ended(one)
    figures.found(figures.name, problems + problems_in(base, lab.contents), len(printed))
    figures.cases = len(ended)
    lab.drop(base)
    return figures.finished()


def prune_with_everything(lab: Lab, rounds: int = 4) -> Figures:
    """Prunes while others publish, roll back and list; a rollback may find its version pruned, and says so."""
    figures = Figures("prune racing with everything")
    for _ in range(rounds):
        base = lab.fresh()
        _race(lab, base, base, figures)
        lab.drop(base)
    return figures.finished()


def two_mount_points(lab: Lab, rounds: int = 2) -> Iterator[Figures]:
    """The same race, with half of the processes on another mount point of the base; nothing where that's not allowed."""
    figures = Figures("two mount points of one base")
    for _ in range(rounds):
        base = lab.fresh()
        with bound(base.parent / "other", base) as is_mounted:
            if not is_mounted:
                return
            _race(lab, base, base.parent / "other", figures)
        lab.drop(base)
    yield figures.finished()


def _race(lab: Lab, base: Path, other: Path, figures: Figures) -> None:
    prune = [("prune", other, "--keep", str(KEEP))] * 8
    programs: List[List[Argv]] = [
        *[[(PUBLISH, base, lab.source)] * 4 for _ in range(4)],
        *[[(PUBLISH, other, lab.source)] * 4 for _ in range(4)],
        *[[("bump-version", base)] * 3 for _ in range(2)],
        *[[("bump-version", other)] * 3 for _ in range(2)],
        *[[("bump-version", other, "--from", str(number))] for number in (1, 2, 3, 4)],
        *[list(prune) for _ in range(3)],
        *[[("list", base, "--json")] * 8 for _ in range(2)],
    ]
    with watching(base, lab.contents, KEEP) as watched:
        ended = run_at_once(lab, programs)
    figures.saw(watched.seen)
    problems: List[str] = []
    for program, one in zip(programs, ended):
        figures.ended(one)
        may_fail = "--from" in program[0]  # its version may be pruned
        problems += crashes(one) if may_fail else _failures(one)
    printed = [
        line
        for program, one in zip(programs, ended)
        if program[0][0] in (PUBLISH, "bump-version")
        for line in one.out.split()
    ]
    numbers = [int(Path(line).name) for line in printed]
    if len(numbers) != len(set(numbers)):
        problems.append(f"a number was given twice: {sorted(numbers)}")
    if sorted(numbers) != list(range(5, 5 + len(numbers))):
        problems.append(f"published {sorted(numbers)}")
    problems += problems_in(base, lab.contents)
    versions = len(numbers_in(base))
    figures.found("race", problems + lab.problems_after_next_run(base), versions)
    figures.cases += len(ended) - 1


def base_deleted(lab: Lab, rounds: int = 3) -> Figures:
    """Somebody deletes the base with all that is in it while others publish: messages, no tracebacks."""
    figures = Figures("base deleted meanwhile")
    for _ in range(rounds):
        base = lab.fresh()
        after = time.monotonic() + _HEAD_START
        running = [
            lab.launcher.start(*[(PUBLISH, base, lab.source), ("bump-version", base), ("list", base)] * 3, after=after)
            for _ in range(6)
        ]
        while time.monotonic() < after + 1.0:
            shutil.rmtree(str(base), ignore_errors=True)
        problems = []
        for one in running:
            ended = one.wait()
            figures.ended(ended)
            problems += crashes(ended)
        shutil.rmtree(str(base), ignore_errors=True)
        figures.found("base deleted", problems + lab.problems_after_next_run(base), 0)
        lab.drop(base)
    return figures.finished()


def _failures(ended: Ended) -> List[str]:
    return crashes(ended) or ([f"failed: {ended}"] if ended.exit_code else [])
