"""The number of CPUs that a process of this machine may use: its affinity, and the limit of its container."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Iterator, List, Optional, Tuple

_ROOT = Path("/")


def available_cpus(root: Path = _ROOT) -> float:
    """Return the CPUs of this machine that this process may use, which is a fraction under a limit of cgroups.

    TensorFlow sees the affinity of the process, and not the limit (`docker run --cpus`), with which a thread for each
    CPU of the machine is stopped most of the time.
    """
    seen = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = container_limit(root)
    return float(seen) if limit is None else min(float(seen), limit)


def container_limit(root: Path = _ROOT) -> Optional[float]:
    """Return the lowest CPU limit of the process's cgroups, of version 2 and 1; None if there is none.

    Source: Documentation/admin-guide/cgroup-v2.rst (cpu.max) and scheduler/sched-bwc.rst (cpu.cfs_quota_us) of Linux.
    """
    limits = []
    for directory in _cgroups(root):
        words = _words(directory / "cpu.max") or (
            _words(directory / "cpu.cfs_quota_us") + _words(directory / "cpu.cfs_period_us")
        )
        with contextlib.suppress(ValueError, ZeroDivisionError):  # "max", or nothing
            quota, period = (int(word) for word in words)
            if quota > 0:  # -1: no limit
                limits.append(quota / period)
    return min(limits) if limits else None


def _cgroups(root: Path) -> Iterator[Path]:
    """The directories of the process's cgroups and of those above them, which limit it too."""
    mounted = root / "sys" / "fs" / "cgroup"
    try:
        lines = (root / "proc" / "self" / "cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        controllers, path = _parsed(line)
        if controllers and "cpu" not in controllers.split(","):
            continue
        # A container sees the path of its cgroup on the host, and its own cgroup where that of the host would be.
        top = mounted / controllers if controllers else mounted
        below = [part for part in path.split("/") if part and part != ".."]
        for one in {top, mounted / "cpu"} if controllers else {top}:
            for count in range(len(below) + 1):
                yield one.joinpath(*below[:count])


def _parsed(line: str) -> Tuple[str, str]:
    """The controllers ("" for version 2) and the path of a line such as `4:cpu,cpuacct:/docker/1f`."""
    _, _, rest = line.partition(":")
    controllers, _, path = rest.partition(":")
    return controllers, path


def _words(path: Path) -> List[str]:
    try:
        return path.read_text(encoding="ascii", errors="replace").split()
    except OSError:
        return []
