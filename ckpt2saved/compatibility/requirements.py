"""What one package asks of another, as metadata says it ("numpy (<2.0.0,>=1.23.5)"), and whether a version meets it."""

from __future__ import annotations

import re
import sys
from typing import NamedTuple, Optional, Tuple

from ckpt2saved.compatibility.installed import normalized

_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*\(?([^;()]*)\)?\s*(?:;(.*))?\Z")
_CLAUSE = re.compile(r"\s*(===|==|!=|~=|<=|>=|<|>)\s*([^\s,]+)\s*\Z")
_MARKER = re.compile(r"""\s*(\w+)\s*(==|!=|<=|>=|<|>)\s*["']([^"']*)["']\s*\Z""")


class Requirement(NamedTuple):
    """A requirement on the version of one package; those that hold for another Python or platform are none."""

    name: str
    versions: str  # "<2.0.0,>=1.23.5"

    def is_met_by(self, version: str) -> bool:
        """Whether a version is among those asked for; a clause that can't be understood counts as met."""
        clauses = [_CLAUSE.match(clause) for clause in self.versions.split(",")]
        return all(_holds(version, *clause.groups()) for clause in clauses if clause)


def parse_requirement(text: str) -> Optional[Requirement]:
    """The requirement, or None for one that an extra, another Python or another platform has, or that is none."""
    match = _REQUIREMENT.match(text)
    if match is None or not _applies(match.group(3) or ""):
        return None
    return Requirement(normalized(match.group(1)), match.group(2).strip())


def release(version: str) -> Tuple[int, ...]:
    """The numbers of a version, of 2.21.0rc1 too: (2, 21, 0); () for what is no version."""
    match = re.match(r"[0-9]+(\.[0-9]+)*", version)
    return tuple(int(part) for part in match.group().split(".")) if match else ()


def minor(version: str) -> str:
    """2.21 of 2.21.0."""
    return ".".join(str(part) for part in release(version)[:2])


def _applies(marker: str) -> bool:
    clauses = [_MARKER.match(clause) for clause in marker.split(" and ")] if marker.strip() else []
    here = {"python_version": "{}.{}".format(*sys.version_info), "sys_platform": sys.platform}
    for clause in clauses:
        if clause is None:
            return False  # what can't be understood is not held against anybody
        name, operator, value = clause.groups()
        if name == "python_version":
            if not _holds(here[name], operator, value):
                return False
        elif name not in here or (here[name] == value) != (operator == "=="):
            return False
    return True


def _holds(version: str, operator: str, wanted: str) -> bool:
    found, asked = release(version), release(wanted.replace(".*", ""))
    if not found or not asked:
        return True
    width = max(len(found), len(asked))
    left, right = _ordered(version, width), _ordered(wanted.replace(".*", ""), width)
    if operator == "~=":
        return left >= right and found[: len(asked) - 1] == asked[:-1]
    if wanted.endswith(".*"):
        is_equal = found[: len(asked)] == asked
    else:
        is_equal = left == right
    return {
        "==": is_equal,
        "===": version == wanted,
        "!=": not is_equal,
        "<": left < right,
        "<=": left <= right,
        ">": left > right,
        ">=": left >= right,
    }[operator]


def _ordered(version: str, width: int) -> Tuple[Tuple[int, ...], int]:
    """A release before its successors, and behind its own candidates and development versions."""
    numbers = release(version)
    is_candidate = re.search(r"[0-9](\.?dev|a|b|rc)[0-9]*\Z", version) is not None
    return numbers + (0,) * (width - len(numbers)), -1 if is_candidate else 0
