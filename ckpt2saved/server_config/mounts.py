"""Mounts: directories of this machine and their paths in the server."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

from ckpt2saved.console.foreign_text import is_plain
from ckpt2saved.errors import UsageError
from ckpt2saved.errors.problem import Problem

_SERVER_PATH = re.compile(r"(/[A-Za-z0-9_][A-Za-z0-9_.-]*)+\Z")
_NOT_PLAIN = (
    "a path with a line break, another control character or bytes that are no UTF-8, which the files and commands that "
    "start a server can't hold; rename the directory"
)


@dataclass(frozen=True)
class Mount:
    """A directory of this machine, and its path in the server."""

    host: Path  # absolute
    server: str
    volume: str = ""  # a volume of the containers with this name, which `host` stands for while files are checked

    def __post_init__(self) -> None:
        if not is_plain(str(self.host)):
            raise UsageError(f"{str(self.host)!a}: {_NOT_PLAIN}")

    def covers(self, path: Path) -> bool:
        """Return whether the server sees this path through the mount."""
        return path == self.host or self.host in path.parents

    def seen(self, path: Path) -> str:
        """Return the path in the server."""
        return "/".join((self.server,) + path.relative_to(self.host).parts)


def parse_mount(text: str) -> Mount:
    """Parse HOST=SERVER at the last equals sign; HOST may be relative, SERVER must be absolute."""
    host, equals, server = text.rpartition("=")
    if not equals or not host:
        raise ValueError(f"{text!r} is not HOST=SERVER, as in ./models=/models")
    server = server.rstrip("/") or "/"
    if not _SERVER_PATH.match(server):
        raise ValueError(
            f"{server!r} is no path that a server could have; expected an absolute one below /, of letters, digits, "
            "'_', '.' and '-', as in /models"
        )
    path = absolute(Path(os.path.expanduser(host)))
    if not is_plain(str(path)):
        raise ValueError(f"{str(path)!a}: {_NOT_PLAIN}")
    return Mount(path, server)


def check_mounts(mounts: Sequence[Mount]) -> None:
    """Raise UsageError if one mount hides another in the server."""
    problems: List[Problem] = []
    for number, mount in enumerate(mounts):
        for other in mounts[:number]:
            if _within(mount.server, other.server) or _within(other.server, mount.server):
                path = max(mount.server, other.server, key=len)
                found = f"{other.host} and {mount.host} would both be at {path} in the server"
                problems.append(Problem("hidden-mount", "", found))
    if problems:
        raise UsageError("--mount: give each directory a path of its own", problems)


def find_mount(path: Path, mounts: Sequence[Mount]) -> Optional[Mount]:
    """Return the mount through which the server sees the path, the innermost of several."""
    covering = [mount for mount in mounts if mount.covers(path)]
    return max(covering, key=lambda mount: len(mount.host.parts)) if covering else None


def broken_link(path: Path, mount: Mount) -> Optional[Problem]:
    """Return a problem for the first symbolic link in `path` that a server could not follow."""
    real_host = os.path.realpath(os.fspath(mount.host))
    for step in _steps(path, mount.host):
        if step.is_symlink():
            target = os.readlink(os.fspath(step))
            inside = os.path.commonpath([real_host, os.path.realpath(os.fspath(step))]) == real_host
            if os.path.isabs(target) or not inside:
                found = f"a symbolic link to {target}, which is broken in the server, where only {mount.host} is seen"
                return Problem("broken-link", str(step), found)
    return None


def absolute(path: Path) -> Path:
    """Return the absolute path, with symbolic links unresolved."""
    return Path(os.path.abspath(os.fspath(path)))


def _steps(path: Path, start: Path) -> Tuple[Path, ...]:
    parts = path.relative_to(start).parts
    return tuple(start.joinpath(*parts[: count + 1]) for count in range(len(parts)))


def _within(inner: str, outer: str) -> bool:
    return inner == outer or inner.startswith(outer + "/")
