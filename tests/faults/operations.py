"""What is disturbed: export and its publication, bump-version, sync and prune, each on a fresh copy of a small base directory."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence, Tuple

from ckpt2saved.versions.content import content_sha256
from tests.faults.interposer import Kind
from tests.faults.judging import PROVENANCE, content_of, missing, numbers_in, problems_in
from tests.faults.launcher import PUBLISH, ROOT, Argv, Ended, Launcher
from tests.support.versions import fill, open_to_all

KEEP = 2  # of prune and sync
VERSIONS = 4  # in a base at first
REMOTE = 6  # versions in the directory that sync pulls from
_RECORD = ".ckpt2saved-pruned.json"
_CRASH = re.compile(r"^Traceback|^Fatal Python error", re.MULTILINE)
_CHECKPOINT = ROOT / "tests" / "saved_models" / "variable" / "variables" / "variables"
_NET = """
import tensorflow.compat.v1 as tf
def build(variables, options):
    x = tf.placeholder(tf.float32, [None, 2], name="x")
    return {"x": x, "y": tf.matmul(x, tf.get_variable("w", [2, 3], use_resource=False))}
"""


@dataclass(frozen=True)
class Operation:
    """A command, and what it may change."""

    name: str
    argv: Callable[[Path, Lab], Argv]
    new: Tuple[int, ...] = (VERSIONS + 1,)  # what it may publish; the last of them, if it succeeds
    versions: int = VERSIONS  # in the base before; 0: there is no base
    keep: int = 0  # the number of newest versions that must stay; 0: all
    repeats: bool = True  # does something in the same base each time

    @property
    def publishes(self) -> bool:
        return bool(self.new)

    @property
    def tells_number(self) -> bool:
        """Whether to run it again would publish once more, so that an error behind the rename must say so."""
        return not self.name.startswith("sync")

    def failing_below(self, base: Path, lab: Lab, kinds: Kind) -> str:
        """Return the directory whose calls fail: if calls that read fail too, those of a source as well."""
        reads_source = kinds & Kind.READ and self.argv(base, lab)[0] in ("bump-version", "sync")
        return str(lab.directory if reads_source else base.parent)


PRUNE = Operation("prune", lambda base, lab: ("prune", base, "--keep", KEEP), (), keep=KEEP)
OPERATIONS = (
    Operation("publish", lambda base, lab: (PUBLISH, base, lab.source)),
    Operation("publish the first", lambda base, lab: (PUBLISH, base, lab.source), (1,), versions=0),
    Operation("bump-version, linked", lambda base, lab: ("bump-version", base, "--from", 2)),
    Operation("bump-version, copied", lambda base, lab: ("bump-version", base, "--from", lab.source)),
    Operation(
        "sync", lambda base, lab: ("sync", lab.remote, base, "--once", "--keep", KEEP), (5, 6), keep=KEEP, repeats=False
    ),
    Operation(
        "sync the first",
        lambda base, lab: ("sync", lab.remote, base, "--once"),
        (*range(1, 7),),
        versions=0,
        repeats=False,
    ),
    PRUNE,
)
# Needs a launcher that has loaded TensorFlow.
EXPORT = Operation("export", lambda base, lab: lab.export(base))


class Lab:
    """A directory with a SavedModel, bases of versions of it, and the process that starts commands."""

    def __init__(self, directory: Path, launcher: Launcher) -> None:
        self.directory = directory
        self.launcher = launcher
        self.source, self.remote = directory / "source", directory / "remote"
        self.source.mkdir()
        checkpoint = {"name": "model.ckpt-7", "step": 7, "sha256": {"model.ckpt-7.index": "0" * 64}}
        provenance: Dict[str, Any] = {"format": 1, "checkpoint": checkpoint}
        fill(self.source, provenance=provenance, more=1 << 16)
        provenance["content_sha256"] = content_sha256(self.source)
        (self.source / PROVENANCE).write_text(json.dumps(provenance), encoding="utf-8")
        open_to_all(self.source)
        self.contents = [content_of(self.source)]
        self._numbers = itertools.count(1)
        self._pristine = self.directory / "pristine"
        for base, count in ((self._pristine, VERSIONS), (self.remote, REMOTE)):
            done = launcher.run((PUBLISH, base, self.source, count))
            assert done.exit_code == 0, done.err

    def export(self, base: Path) -> Argv:
        """Return the command that exports a small checkpoint."""
        nets = self.directory / "nets"
        if not nets.is_dir():
            nets.mkdir()
            (nets / "net_of_faults.py").write_text(_NET, encoding="utf-8")
        graph = ("--graph", "net_of_faults:build", "--python-path", nets, "--input", "x", "--output", "y")
        return ("export", "--checkpoint", _CHECKPOINT, "--export-dir", base, "--quiet", *graph)

    def know_export(self) -> None:
        """Take the files of an undisturbed export as complete: an export of one checkpoint always writes the same."""
        base = self.fresh(0)
        done = self.launcher.run(self.export(base))
        assert done.exit_code == 0, done.err
        self.contents.append(content_of(base / "1"))
        self.drop(base)

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
        lost = missing(numbers, sorted({*before, *numbers})[-operation.keep :])
        new = missing(before, numbers)
        if lost:
            problems.append(f"lost: {lost}")
        if missing(operation.new, new):
            problems.append(f"new: {new}")
        problems += crashes(ended)
        if ended.exit_code == 0 and operation.new and operation.new[-1] not in new:
            problems.append(f"exit code 0, and {operation.new[-1]} is not published")
        if ended.exit_code == 1 and new and operation.tells_number and "is published" not in ended.err:
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
    if ended.exit_code not in (0, 1, 3):  # 3: a staged file that can't be read can't be served
        return [f"exit code {ended.exit_code}: {ended.err}"]
    return ["no message"] if ended.exit_code and not re.search("Error: |^failed", ended.err, re.M) else []


def leftovers(base: Path) -> Tuple[str, ...]:
    """Return the children of a base that are neither versions nor the record of pruned ones."""
    names: Sequence[str] = [path.name for path in base.iterdir()] if base.is_dir() else []
    return tuple(sorted(name for name in names if not name.isdigit() and name != _RECORD))
