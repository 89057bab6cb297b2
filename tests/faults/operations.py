"""What is disturbed: export's publication, bump-version and prune, each on a fresh copy of a small base directory."""

from __future__ import annotations

import itertools
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, List, Sequence, Tuple

from tests.faults.judging import content_of, missing, numbers_in, problems_in
from tests.faults.launcher import PUBLISH, Argv, Ended, Launcher
from tests.support.versions import fill, open_to_all

KEEP = 2  # of prune
VERSIONS = 4  # in a base at first
_RECORD = ".ckpt2saved-pruned.json"
_CRASH = re.compile(r"^Traceback|^Fatal Python error", re.MULTILINE)


@dataclass(frozen=True)
class Operation:
    """A command, and what it may change."""

    name: str
    argv: Callable[[Path, Path], Argv]  # of the base and a SavedModel elsewhere
    publishes: bool
    versions: int = VERSIONS  # in the base before; 0: there is no base

    @property
    def keep(self) -> int:
        """The number of newest versions that must stay; 0: all."""
        return 0 if self.publishes else KEEP


OPERATIONS = (
    Operation("publish", lambda base, source: (PUBLISH, str(base), str(source)), True),
    Operation("publish the first", lambda base, source: (PUBLISH, str(base), str(source)), True, versions=0),
    Operation("bump-version, linked", lambda base, source: ("bump-version", str(base), "--from", "2"), True),
    Operation("bump-version, copied", lambda base, source: ("bump-version", str(base), "--from", str(source)), True),
    Operation("prune", lambda base, source: ("prune", str(base), "--keep", str(KEEP)), False),
)


class Lab:
    """A directory with a SavedModel, bases of versions of it, and the process that starts commands."""

    def __init__(self, directory: Path, launcher: Launcher) -> None:
        self.directory = directory
        self.launcher = launcher
        self.source = directory / "source"
        self.source.mkdir()
        checkpoint = {"name": "model.ckpt-7", "step": 7, "sha256": {"model.ckpt-7.index": "0" * 64}}
        fill(self.source, provenance={"format": 1, "checkpoint": checkpoint}, more=1 << 16)
        open_to_all(self.source)
        self.contents = [content_of(self.source)]
        self._numbers = itertools.count(1)
        self._pristine = self.directory / "pristine"
        done = launcher.run((PUBLISH, self._pristine, self.source, str(VERSIONS)))
        assert done.exit_code == 0, done.err

    def fresh(self, versions: int = VERSIONS) -> Path:
        """Return the path of a new base directory with so many versions; with 0 it does not exist."""
        base = self.directory / f"lab-{next(self._numbers)}" / "base"
        base.parent.mkdir()
        if versions:
            assert versions == VERSIONS
            shutil.copytree(str(self._pristine), str(base))
        return base

    def drop(self, base: Path) -> None:
        shutil.rmtree(str(base.parent))

    def problems(self, operation: Operation, base: Path, ended: Ended) -> List[str]:
        """Return how the base and the output break what is promised, after one run that was disturbed."""
        before = list(range(1, operation.versions + 1))
        numbers = numbers_in(base)
        problems = problems_in(base, self.contents)
        lost = missing(numbers, before[-operation.keep :])
        new = missing(before, numbers)
        if lost:
            problems.append(f"lost: {lost}")
        if new not in ([], [len(before) + 1] if operation.publishes else []):
            problems.append(f"new: {new}")
        problems += crashes(ended)
        if ended.exit_code == 0 and operation.publishes and not new:
            problems.append("exit code 0, and nothing was published")
        if ended.exit_code == 1 and new and "is published" not in ended.err:
            problems.append(f"exit code 1, and {new} is published: {ended.err}")
        return problems

    def problems_after_next_run(self, base: Path) -> List[str]:
        """Return what is wrong after an undisturbed run: it must succeed, and remove what the disturbed one left."""
        highest = max(numbers_in(base), default=0)
        ended = self.launcher.run((PUBLISH, base, self.source))
        problems = problems_in(base, self.contents)
        if ended.exit_code != 0 or max(numbers_in(base), default=0) != highest + 1:
            problems.append(f"the next run failed: {ended}")
        return problems + [f"left over after the next run: {name}" for name in leftovers(base)]


def crashes(ended: Ended) -> List[str]:
    """Return what is wrong with how a process ended, unless it was killed."""
    if ended.was_killed:
        return []
    if _CRASH.search(ended.err):
        return [f"traceback: {ended.err}"]
    if ended.exit_code not in (0, 1):
        return [f"exit code {ended.exit_code}: {ended.err}"]
    return [f"no message: {ended.err}"] if ended.exit_code == 1 and "Error: " not in ended.err else []


def leftovers(base: Path) -> Tuple[str, ...]:
    """Return the children of a base that are neither versions nor the record of pruned ones."""
    names: Sequence[str] = [path.name for path in base.iterdir()] if base.is_dir() else []
    return tuple(sorted(name for name in names if not name.isdigit() and name != _RECORD))
