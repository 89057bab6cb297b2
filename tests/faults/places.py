"""Real file systems that are full, read-only or closed, base directories that are none, odd names, and a clock that jumps."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Tuple

from tests.faults.figures import Figures
from tests.faults.interposer import Fault
from tests.faults.judging import numbers_in, problems_in
from tests.faults.launcher import PUBLISH, Argv, Ended
from tests.faults.mounts import full_disk, make_read_only
from tests.faults.operations import KEEP, OPERATIONS, Lab, Operation, crashes, leftovers

_PAGE = 4096
_NOBODY = 65534
_YEARS = 365 * 24 * 3600
LARGEST = 2**63 - 1


def full_disks(lab: Lab, step: int = 1) -> Iterator[Figures]:
    """Each operation on a real file system with n free pages, or n free inodes; nothing where none can be mounted."""
    for operation in OPERATIONS:
        figures = Figures(f"full disk: {operation.name}")
        for count in range(0, 40, step):
            if not _on_full_disk(lab, operation, count * _PAGE, figures):
                return
        for count in range(0, 10, step):
            _on_full_disk(lab, operation, None, figures, count)
        yield figures.finished()


def _on_full_disk(lab: Lab, operation: Operation, free: Optional[int], figures: Figures, inodes: int = 0) -> bool:
    base = lab.fresh(operation.versions)
    disk = base.parent / "disk"
    used = 3 + sum(1 for _ in base.rglob("*")) if operation.versions else 3
    with full_disk(disk, inodes=0 if free is not None else used + inodes) as is_mounted:
        if not is_mounted:
            lab.drop(base)
            return False
        there = disk / "base"
        if operation.versions:
            shutil.copytree(str(base), str(there))
        ballast = disk / "ballast"
        if free is not None:
            status = os.statvfs(str(disk))
            ballast.write_bytes(b"b" * max(0, status.f_bavail * status.f_bsize - free))
        ended = lab.launcher.run(operation.argv(there, lab))
        figures.ended(ended)
        figures.errors += ended.exit_code == 1
        problems = lab.problems(operation, there, ended)
        if ended.exit_code == 1 and "No space left on device" not in ended.err:
            problems.append(f"does not tell why: {ended.err}")
        if not operation.publishes and ended.exit_code != 0:
            problems.append(f"can't make room on a full disk: {ended}")
        problems += [f"left over: {name}" for name in leftovers(there)]
        if free is not None:
            ballast.unlink()
            problems += lab.problems_after_next_run(there)
        figures.found(f"{operation.name}, {free} bytes, {inodes} inodes free", problems, len(numbers_in(there)))
    lab.drop(base)
    return True


def read_only(lab: Lab) -> Iterator[Figures]:
    """Each operation on a file system that is mounted read-only; nothing where none can be mounted."""
    figures = Figures("read-only file system")
    for operation in OPERATIONS:
        base = lab.fresh(operation.versions)
        disk = base.parent / "disk"
        with full_disk(disk) as is_mounted:
            if is_mounted and operation.versions:
                shutil.copytree(str(base), str(disk / "base"))
            if not is_mounted or not make_read_only(disk):
                return
            _refused(lab, operation, disk / "base", "read-only", figures)
        lab.drop(base)
    yield figures.finished()


def without_rights(lab: Lab) -> Iterator[Figures]:
    """Each operation as another user, on a base, a parent or versions that are closed to that user; root is needed."""
    if os.geteuid() != 0:
        return
    figures = Figures("without rights")
    for operation in OPERATIONS:
        for mode in (0o755, 0o700, 0o000):
            for closed in ("base", "parent"):
                if not operation.versions and closed == "base":
                    continue
                base = lab.fresh(operation.versions)
                (base if closed == "base" else base.parent).chmod(mode)
                _refused(lab, operation, base, "", figures, user=_NOBODY)
                base.parent.chmod(0o755)
                lab.drop(base)
    yield figures.finished()


def _refused(lab: Lab, operation: Operation, base: Path, text: str, figures: Figures, user: int = 0) -> None:
    ended = lab.launcher.run(operation.argv(base, lab), user=user)
    figures.ended(ended)
    figures.errors += 1
    problems = crashes(ended) + problems_in(base, lab.contents)
    if ended.exit_code != 1 or text not in ended.err:
        problems.append(f"expected a refusal: {ended}")
    if len(numbers_in(base)) != operation.versions or leftovers(base):
        problems.append(f"changed: {sorted(path.name for path in base.iterdir())}")
    figures.found(f"{operation.name}, {base}", problems, operation.versions)


_ODD_BASES: Dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "a file": lambda path: path.write_bytes(b""),
    "a dangling link": lambda path: path.symlink_to("gone"),
    "a link to itself": lambda path: path.symlink_to(path),
    "a pipe": lambda path: os.mkfifo(str(path)),
    "an empty directory": lambda path: path.mkdir(),
}


def odd_bases(lab: Lab) -> Figures:
    """All commands on a base that is missing, a file, a dangling link, below a file, or has an impossible name."""
    figures = Figures("a base that is none")
    for name, make in _ODD_BASES.items():
        parent = lab.fresh(0).parent
        make(parent / "base")
        before = sorted(path.name for path in parent.iterdir())
        is_usable = name in ("missing", "an empty directory")
        for command in _commands(parent / "base", lab.source):
            if command[0] != PUBLISH or not is_usable:
                _odd(lab, command, f"{command[0]} on {name}", figures)
        if sorted(path.name for path in parent.iterdir()) != before:
            figures.problems.append(f"{name}: {before} became {sorted(path.name for path in parent.iterdir())}")
        if is_usable:
            figures.found(f"publish on {name}", lab.problems_after_next_run(parent / "base"), 1)
        shutil.rmtree(str(parent))
    parent = lab.fresh(0).parent
    (parent / "file").write_bytes(b"")
    for text in (str(parent / "file" / "base"), str(parent / ("n" * 300)), "s3://bucket/base", "/proc/base"):
        for command in _commands(text, lab.source):
            _odd(lab, command, f"{command[0]} on {text}", figures)
    return figures.finished()


def _commands(base: object, source: Path) -> List[Argv]:
    return [
        (PUBLISH, str(base), str(source)),
        ("bump-version", str(base)),
        ("bump-version", str(base), "--from", str(source), "--dry-run"),
        ("prune", str(base)),
        ("list", str(base)),
    ]


def _odd(lab: Lab, command: Argv, where: str, figures: Figures) -> None:
    ended = lab.launcher.run(command)
    figures.ended(ended)
    figures.found(where, crashes(ended), 0)


# Names of children, and the next number that TF Serving's reading of them leaves free; None: none is left.
_ODD_NAMES: Sequence[Tuple[str, Optional[int]]] = (
    ("007", 8),
    ("+5", 6),
    (" 5", 6),
    ("5\t", 6),
    ("-3", 1),
    (str(LARGEST), None),
    (str(LARGEST + 1), 1),
    (str(LARGEST - 1), LARGEST),
    ("0", 1),
    ("1e3", 1),
    ("0x10", 1),
    ("1_0", 1),
    ("\N{FULLWIDTH DIGIT SEVEN}", 1),
    ("5.tmp", 1),
    ("v9", 1),
)


def odd_names(lab: Lab) -> Figures:
    """A child with an odd name, as a version, an empty directory, a file and a dangling link: the next number."""
    figures = Figures("odd names")
    kinds: Dict[str, Callable[[Path], object]] = {
        "version": lambda path: shutil.copytree(str(lab.source), str(path)),
        "empty": lambda path: path.mkdir(),
        "file": lambda path: path.write_bytes(b""),
        "link": lambda path: path.symlink_to("gone"),
    }
    for name, expected in _ODD_NAMES:
        for kind, make in kinds.items():
            base = lab.fresh(0)
            base.mkdir()
            make(base / name)
            ended = lab.launcher.run((PUBLISH, base, lab.source))
            figures.ended(ended)
            number = int(Path(ended.out.strip()).name) if ended.out.strip() else None
            problems = crashes(ended)
            if number != expected:
                problems.append(f"published {number}, expected {expected}: {ended}")
            pruned = lab.launcher.run(("prune", base, "--keep", "1"))
            listed = lab.launcher.run(("list", base))
            problems += crashes(pruned) + crashes(listed)
            is_old_version = kind in ("version", "empty") and (expected != 1 or name == "0")
            if not os.path.lexists(str(base / name)) and not is_old_version:
                problems.append(f"{name!r} is deleted")
            figures.found(f"{kind} {name!r}", problems, len(numbers_in(base)))
            lab.drop(base)
    return figures.finished()


def clocks(lab: Lab) -> Figures:
    """Each operation with a clock years off and back again, with and without locks; a stage left by the future."""
    figures = Figures("clock going backwards, no locks")
    for operation in OPERATIONS:
        for lockless in (False, True):
            for years in (-40, 40):
                base = lab.fresh(operation.versions)
                base.mkdir(exist_ok=True)
                (base / ".staging-left").mkdir()
                fault = Fault(str(base), clock=years * _YEARS, lockless=lockless)
                ended = lab.launcher.run(operation.argv(base, lab), fault=fault)
                figures.ended(ended)
                problems = lab.problems(operation, base, ended) + _unless_done(ended)
                if lockless and years < 0 and ".staging-left" not in leftovers(base):
                    problems.append("a stage that may be one at work is deleted")
                figures.found(f"{operation.name}, {years} years", problems, len(numbers_in(base)))
                problems = lab.problems_after_next_run(base)
                figures.found(f"after {operation.name}, {years} years", problems, len(numbers_in(base)))
                lab.drop(base)
    return figures.finished()


def _unless_done(ended: Ended) -> List[str]:
    return [f"failed: {ended}"] if ended.exit_code else []


def other_file_systems(lab: Lab) -> Iterator[Figures]:
    """A source, a linked version and a version that is a mount point on another file system than the base."""
    figures = Figures("another file system")
    base = lab.fresh()
    with full_disk(base.parent / "disk") as is_mounted:
        if not is_mounted:
            return
        shutil.copytree(str(lab.source), str(base.parent / "disk" / "model"))
        (base / "5").symlink_to(base.parent / "disk" / "model")
        for command in (
            ("bump-version", base, "--from", base.parent / "disk" / "model"),
            ("bump-version", base, "--from", "5"),
            ("prune", base, "--keep", str(KEEP)),
        ):
            ended = lab.launcher.run(command)
            figures.ended(ended)
            problems = crashes(ended) + _unless_done(ended) + problems_in(base, lab.contents)
            figures.found(" ".join(map(str, command)), problems, len(numbers_in(base)))
        if not (base.parent / "disk" / "model" / "saved_model.pb").exists():
            figures.problems.append("prune deleted what a link leads to")
    lab.drop(base)
    base = lab.fresh()
    shutil.rmtree(str(base / "2"))
    with full_disk(base / "2") as is_mounted:
        shutil.copytree(str(lab.source), str(base / "2" / "model"))
        for path in (base / "2" / "model").iterdir():
            path.rename(base / "2" / path.name)
        (base / "2" / "model").rmdir()
        ended = lab.launcher.run(("prune", base, "--keep", str(KEEP)))
        figures.ended(ended)
        problems = crashes(ended) + problems_in(base, lab.contents)
        if 2 not in numbers_in(base) or ended.exit_code != 1 or "busy" not in ended.err:
            problems.append(f"a mounted version is pruned: {ended}")
        figures.found("prune of a mount point", problems, len(numbers_in(base)))
    lab.drop(base)
    yield figures.finished()
