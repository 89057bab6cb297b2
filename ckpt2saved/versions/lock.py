"""Locks on directories, which serialize exporters and show whether the exporter of a stage still runs."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Iterator

from ckpt2saved.console.say import Say, silent
from ckpt2saved.errors import VersionError
from ckpt2saved.files.locks import try_lock
from ckpt2saved.files.reading import PathLike

LONGEST_WAIT = 120.0  # seconds; a lock is held for a few renames only
_QUIET = 1.0  # seconds of waiting before the first message
_PAUSES = (0.005, 0.01, 0.02, 0.05)  # seconds between tries; the last one repeats
_SHOWN = 60  # characters of a process's command


@contextlib.contextmanager
def locked(directory: PathLike, say: Say = silent) -> Iterator[None]:
    """Hold the lock of `directory` in the block; raises FileNotFoundError if it was deleted meanwhile.

    `say` is called after a second of waiting. Raises VersionError after LONGEST_WAIT seconds. On file systems without
    flock (some NFS) nothing is locked. Not reentrant.
    """
    descriptor = _open_locked(directory, _Wait(directory, say))
    try:
        yield
    finally:
        os.close(descriptor)


def open_directory(path: PathLike) -> int:
    """Open the directory for locking; closed on exec, so that no child process inherits the lock."""
    return os.open(os.fspath(path), os.O_RDONLY | os.O_DIRECTORY)


def _open_locked(directory: PathLike, wait: _Wait) -> int:
    while True:
        descriptor = open_directory(directory)
        try:
            while try_lock(descriptor) is False:
                wait.go_on(descriptor)
            # The process that held the lock may have removed the directory (see stage.py), and another one created it.
            if os.path.samestat(os.fstat(descriptor), os.stat(os.fspath(directory))):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


class _Wait:
    """The wait for one lock."""

    def __init__(self, directory: PathLike, say: Say) -> None:
        self._directory = directory
        self._say = say
        self._start = time.monotonic()
        self._tries = 0
        self._has_said = False

    def go_on(self, descriptor: int) -> None:
        """Sleep before the next try; raises VersionError after LONGEST_WAIT seconds."""
        seconds = time.monotonic() - self._start
        if seconds > LONGEST_WAIT:
            text = "{}: {} has held the directory's lock for {:.0f} s, and publishing and pruning need it; "
            text += "wait until it ends, or stop it, then run again"
            raise VersionError(text.format(self._directory, _holder(descriptor), seconds))
        if seconds > _QUIET and not self._has_said:
            text = "{}: {} holds the directory's lock; waiting for it, for up to {:.0f} s"
            self._say("lock", text.format(self._directory, _holder(descriptor), LONGEST_WAIT))
            self._has_said = True
        time.sleep(_PAUSES[min(self._tries, len(_PAUSES) - 1)])
        self._tries += 1


def _holder(descriptor: int) -> str:
    """Return the process that holds the lock of an open directory; "another process" if unknown."""
    try:
        status = os.fstat(descriptor)
        for line in Path("/proc/locks").read_text().splitlines():
            # "7: FLOCK  ADVISORY  WRITE 4711 fd:01:131 0 EOF"
            kind, _, _, process, place = line.partition(":")[2].split()[:5]
            if kind == "FLOCK" and place.rpartition(":")[2] == str(status.st_ino) and int(process) > 0:
                command = (
                    (Path("/proc") / process / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                )
                command = "".join(letter for letter in command.strip() if letter.isprintable())[:_SHOWN]
                return f"process {process} ({command})" if command else "process " + process
    except (OSError, ValueError):
        pass  # not Linux, another PID namespace, or the process has ended
    return "another process"
