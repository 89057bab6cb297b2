"""The order of writes, fsyncs and renames in the trace of a command: what is visible is on disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Dict, List, Sequence, Set

from tests.faults.figures import Figures
from tests.faults.interposer import CHANGES, Call, Fault, Kind, read_trace
from tests.faults.judging import numbers_in
from tests.faults.operations import OPERATIONS, Lab, Operation

_PRUNED = ".pruned-"


def check_order(lab: Lab, operations: Sequence[Operation] = OPERATIONS) -> Figures:
    """Trace each operation, and compare the order of its calls with the rules."""
    figures = Figures("order of write, fsync and rename")
    for operation in operations:
        base = lab.fresh(operation.versions)
        trace = base.parent.parent / f"{base.parent.name}.trace"
        ended = lab.launcher.run(
            operation.argv(base, lab), fault=Fault(str(base.parent), kinds=CHANGES, trace=str(trace))
        )
        figures.ended(ended)
        calls = read_trace(trace)
        problems = lab.problems(operation, base, ended) + problems_of_order(calls, base)
        if not any(call.name == "rename-new" for call in calls):
            problems.append("renamed nothing")
        figures.found(operation.name, problems, len(numbers_in(base)))
        lab.drop(base)
    return figures.finished()


def problems_of_order(calls: Sequence[Call], base: Path) -> List[str]:
    """Return where a machine that stops could show, or leave, an incomplete version.

    A version is renamed once everything in it is written and synced, never changed later, and the base is synced at
    last. A version that is deleted is renamed away first, and that synced, before its first file goes.
    """
    problems: List[str] = []
    unsynced: Dict[str, str] = {}  # path -> what was done to it since its last fsync
    away: Set[str] = set()  # hidden versions, until the base is synced
    published: Set[str] = set()
    for call in calls:
        parent = os.path.dirname(call.path)
        if call.kind is Kind.SYNC:
            unsynced.pop(call.path, None)
            if call.path == str(base):
                away.clear()
        elif call.name in ("rename", "rename-new"):
            target = os.path.basename(call.other)
            if target.isdigit():
                problems += _of_publishing(call, unsynced)
                published.add(call.other)
            elif os.path.basename(call.path).isdigit():
                away.add(call.other)
            for path in [path for path in unsynced if (path + os.sep).startswith(call.path + os.sep)]:
                unsynced[call.other + path[len(call.path) :]] = unsynced.pop(path)
            unsynced[os.path.dirname(call.other)] = unsynced[parent] = f"{call.name} {call.path} {call.other}"
        else:
            changed = call.other if call.name == "link" else call.path
            problems += [
                f"{call} changes a published version"
                for one in published
                if (changed + os.sep).startswith(one + os.sep)
            ]
            if call.name in ("unlink", "rmdir"):
                problems += [f"{call} before the base is synced" for one in away if changed.startswith(one)]
                unsynced.pop(changed, None)
            else:
                unsynced[changed] = str(call)
            if call.kind is Kind.DIRECTORY and _PRUNED not in changed:
                unsynced[os.path.dirname(changed)] = str(call)
    problems += [
        f"{path} is not synced at the end after {call}"
        for path, call in unsynced.items()
        if path == str(base) and _PRUNED not in call and published
    ]
    return problems


def _of_publishing(call: Call, unsynced: Dict[str, str]) -> List[str]:
    problems = [] if call.name == "rename-new" else [f"{call} could replace a version"]
    inside = call.path + os.sep
    return problems + [
        f"{call.other} is visible before {path} is synced, after {what}"
        for path, what in unsynced.items()
        if (path + os.sep).startswith(inside) and "chmod" not in what
    ]
