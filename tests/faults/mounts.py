"""Real file systems for the tests, where this process may mount them."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Iterator


@contextlib.contextmanager
def mounted(target: Path, *arguments: str) -> Iterator[bool]:
    """Mount at a new directory `target` during the block; yields False where that is not allowed."""
    target.mkdir()
    is_mounted = _mount(*arguments, str(target))
    try:
        yield is_mounted
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", str(target)], check=True)
        target.rmdir()


def full_disk(target: Path, *, size: str = "1m", inodes: int = 0) -> contextlib.AbstractContextManager[bool]:
    """A small file system in memory."""
    return mounted(target, "-t", "tmpfs", "-o", f"size={size},nr_inodes={inodes or 10000},mode=755", "tmpfs")


def bound(target: Path, source: Path) -> contextlib.AbstractContextManager[bool]:
    """A second mount point of a directory."""
    return mounted(target, "--bind", str(source))


def make_read_only(target: Path) -> bool:
    return _mount("-o", "remount,ro,bind", str(target))


def _mount(*arguments: str) -> bool:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    return subprocess.run(["mount", *arguments], stderr=subprocess.DEVNULL).returncode == 0
