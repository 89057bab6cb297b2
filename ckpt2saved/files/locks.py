"""Locks on open files and directories, which end with their process, and so show whether it still runs."""

from __future__ import annotations

import fcntl
from typing import Optional

ABANDONED_AFTER = 24 * 60 * 60  # seconds without a change; only where no lock tells


def try_lock(descriptor: int) -> Optional[bool]:
    """Return whether the open file or directory was locked, until it is closed or the process ends.

    None without flock, as on some NFS.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # ENOLCK, ENOTSUP, ENOSYS or EBADF, depending on the file system
        return None
    return True
