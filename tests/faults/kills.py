"""kill -9 at every call that changes a directory, and at random moments."""

from __future__ import annotations

import random
import statistics
import time
from typing import Iterator, Sequence

from tests.faults.figures import Figures
from tests.faults.interposer import CHANGES, Fault, Kind
from tests.faults.judging import numbers_in
from tests.faults.launcher import PUBLISH
from tests.faults.operations import OPERATIONS, PRUNE, Lab, Operation
from tests.faults.watcher import watching

_KILLS_OF_A_BASE = 50


def kill_at_every_call(
    lab: Lab, kinds: Kind = Kind.DIRECTORY, operations: Sequence[Operation] = OPERATIONS, step: int = 1
) -> Iterator[Figures]:
    """Each operation, killed before each of its calls of these kinds; then a run that removes what it left."""
    for operation in operations:
        figures = Figures(f"kill at every call: {operation.name}")
        for at in range(1, number_of_calls(lab, operation, kinds) + 1, step):
            base = lab.fresh(operation.versions)
            ended = lab.launcher.run(operation.argv(base, lab), fault=Fault(str(base.parent), kinds=kinds, at=at))
            figures.ended(ended)
            problems = lab.problems(operation, base, ended)
            if not ended.was_killed:
                problems.append(f"was not killed: {ended}")
            versions = len(numbers_in(base))
            figures.found(f"{operation.name}, killed at call {at}", problems, versions)
            figures.found(f"{operation.name}, run after call {at}", lab.problems_after_next_run(base), versions)
            figures.cases -= 1
            lab.drop(base)
        yield figures.finished()


def kill_cleanups(lab: Lab) -> Figures:
    """A run is killed, then the one that cleans up after it is killed at each of its calls; the third cleans up."""
    figures = Figures("kill the run after a kill")
    for operation in OPERATIONS:
        base = lab.fresh(operation.versions)
        calls = number_of_calls(lab, operation, Kind.DIRECTORY)
        first = Fault(str(base.parent), kinds=Kind.DIRECTORY, at=max(1, calls - 1))
        lab.drop(base)
        at = 0
        while True:
            at += 1
            base = lab.fresh(operation.versions)
            killed = lab.launcher.run(operation.argv(base, lab), fault=_below(first, str(base.parent)))
            figures.ended(killed)
            if not base.is_dir():
                base.mkdir()
            again = lab.launcher.run(PRUNE.argv(base, lab), fault=Fault(str(base.parent), kinds=Kind.DIRECTORY, at=at))
            figures.ended(again)
            problems = lab.problems(operation, base, killed)
            if operation.publishes:  # the prune deletes others
                problems = [problem for problem in problems if not problem.startswith("lost")]
            versions = len(numbers_in(base))
            problems += lab.problems_after_next_run(base)
            figures.found(f"{operation.name}, killed, then prune, killed at call {at}", problems, versions)
            lab.drop(base)
            if not again.was_killed:
                break
    return figures.finished()


def kill_at_random(
    lab: Lab, kills: int, operations: Sequence[Operation] = OPERATIONS, seed: int = 1
) -> Iterator[Figures]:
    """Each operation, killed at a random moment, so often in all, with a watcher; many times in the same base."""
    for operation in operations:
        yield _kill_at_random(lab, operation, kills // len(operations), random.Random(seed))


def _kill_at_random(lab: Lab, operation: Operation, kills: int, chance: random.Random) -> Figures:
    figures = Figures(f"kill at random: {operation.name}")
    duration = statistics.median([_duration(lab, operation) for _ in range(5)])
    while figures.kills < kills:
        base = lab.fresh(operation.versions)
        base.mkdir(exist_ok=True)  # for the watcher
        with watching(base, lab.contents, operation.keep) as watched:
            runs = 0
            while figures.kills < kills and runs < (_KILLS_OF_A_BASE if operation.repeats else 1):
                runs += 1
                if not operation.publishes:
                    lab.launcher.run((PUBLISH, base, lab.source, "2"))
                running = lab.launcher.start(operation.argv(base, lab))
                time.sleep(chance.uniform(0, 1.2 * duration))
                running.kill()
                ended = running.wait()
                figures.ended(ended)
                if not ended.was_killed and ended.exit_code != 0:
                    figures.problems.append(f"{operation.name}: failed: {ended}")
            versions = len(numbers_in(base))
            figures.found(operation.name, lab.problems_after_next_run(base), versions)
            figures.cases += runs - 1
        figures.saw(watched.seen)
        lab.drop(base)
    return figures.finished()


def number_of_calls(lab: Lab, operation: Operation, kinds: Kind = CHANGES) -> int:
    """Return how many calls of these kinds an undisturbed run makes."""
    base = lab.fresh(operation.versions)
    below = operation.failing_below(base, lab, kinds)
    ended = lab.launcher.run(operation.argv(base, lab), fault=Fault(below, kinds=kinds))
    assert ended.exit_code == 0, ended
    assert not operation.new or numbers_in(base)[-1] == operation.new[-1]
    assert not operation.keep or len(numbers_in(base)) == operation.keep
    lab.drop(base)
    return ended.calls


def _duration(lab: Lab, operation: Operation) -> float:
    base = lab.fresh(operation.versions)
    begin = time.monotonic()
    lab.launcher.run(operation.argv(base, lab))
    seconds = time.monotonic() - begin
    lab.drop(base)
    return seconds


def _below(fault: Fault, below: str) -> Fault:
    return Fault(below, kinds=fault.kinds, at=fault.at, code=fault.code)
