"""The library of interposer.c, which counts, traces, fails or kills at calls that concern files below a directory."""

from __future__ import annotations

import ctypes
import enum
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import List, NamedTuple, Optional

SOURCE = Path(__file__).resolve().parent / "interposer.c"
KILL = -1  # in place of an errno


class Kind(enum.IntFlag):
    """What a call does, as in interposer.c."""

    DIRECTORY = 1  # changes a directory: mkdir, rename, link, unlink, rmdir, open with O_CREAT
    SYNC = 2
    WRITE = 4
    MODE = 8
    READ = 16


CHANGES = Kind.DIRECTORY | Kind.SYNC | Kind.WRITE | Kind.MODE
ALL = CHANGES | Kind.READ


@dataclass(frozen=True)
class Fault:
    """Fail the call number `at` of these kinds below the directory `below`; with `persists` all after it too."""

    below: str
    kinds: Kind = ALL
    at: int = 0  # 0: count and trace only
    code: int = KILL
    persists: bool = False
    trace: Optional[str] = None  # the file that gets a line for each call
    clock: int = 0  # seconds by which the clock is off
    lockless: bool = False  # flock fails, as on some network file systems


class Call(NamedTuple):
    """A line of a trace."""

    kind: Kind
    name: str
    path: str
    other: str  # the second path of rename and link
    code: int


def compiled(directory: Path) -> Optional[Path]:
    """Compile the library; None where there is no compiler, or the system is not Linux."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None or not os.path.isdir("/proc/self/fd"):
        return None
    library = directory / "interposer.so"
    done = subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"], stdout=subprocess.DEVNULL
    )
    return library if done.returncode == 0 else None


def arm(fault: Fault) -> None:
    """Arm the library that this process was started with."""
    trace = -1 if fault.trace is None else os.open(fault.trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    ctypes.CDLL(None).interposer_disturb(ctypes.c_long(fault.clock), int(fault.lockless))
    ctypes.CDLL(None).interposer_arm(
        os.fsencode(fault.below), int(fault.kinds), ctypes.c_long(fault.at), fault.code, int(fault.persists), trace
    )


def disarm() -> int:
    """Disarm the library, and return the number of calls."""
    function = ctypes.CDLL(None).interposer_disarm
    function.restype = ctypes.c_long
    return int(function())


def read_trace(path: Path) -> List[Call]:
    """Return the calls of a trace, in order."""
    lines = (line.split("\t") for line in path.read_text(encoding="utf-8", errors="surrogateescape").splitlines())
    return [Call(Kind(int(kind)), name, one, other, int(code)) for kind, name, one, other, code in lines]
