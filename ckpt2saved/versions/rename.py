"""A rename that never replaces anything, unlike rename(2), which replaces an empty directory."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import sys
from typing import Callable, Optional

from ckpt2saved.files.reading import PathLike

_AT_FDCWD = -100
_RENAME_NOREPLACE = 1  # Linux
_RENAME_EXCL = 4  # macOS
# For a C library from before glibc 2.28; TensorFlow 1.14's own image has 2.27.
_RENAMEAT2_NUMBER = {"x86_64": 316, "aarch64": 276}

# The kernel, the file system (NFS: EINVAL) or a container's sandbox (EPERM) does not know the call.
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM)
_OCCUPIED = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR)


def rename_new(source: PathLike, target: PathLike) -> None:
    """Rename a directory atomically; raises FileExistsError if `target` exists, even as a dangling link.

    Without support by the system the target is checked first; hold the lock of the parent directory in that case.
    """
    if rename_exclusively(os.fsencode(source), os.fsencode(target)):
        return
    if os.path.lexists(os.fspath(target)):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fspath(target))
    try:
        os.rename(os.fspath(source), os.fspath(target))
    except OSError as error:
        if error.errno in _OCCUPIED and os.path.lexists(os.fspath(target)):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fspath(target)) from error
        raise


def rename_exclusively(source: bytes, target: bytes) -> bool:
    """Rename with the kernel's exclusive call; returns False if the system has none."""
    call = _system_call()
    if call is None:
        return False
    if call(source, target) == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code), os.fsdecode(source), None, os.fsdecode(target))


def _system_call() -> Optional[Callable[[bytes, bytes], int]]:
    libc = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "darwin" and hasattr(libc, "renamex_np"):
        return lambda source, target: libc.renamex_np(source, target, ctypes.c_uint(_RENAME_EXCL))
    if not sys.platform.startswith("linux"):
        return None
    here, flags = ctypes.c_int(_AT_FDCWD), ctypes.c_uint(_RENAME_NOREPLACE)
    if hasattr(libc, "renameat2"):
        return lambda source, target: libc.renameat2(here, source, here, target, flags)
    number = _RENAMEAT2_NUMBER.get(platform.machine()) if sys.maxsize > 2**32 else None
    if number is None:
        return None
    return lambda source, target: libc.syscall(ctypes.c_long(number), here, source, here, target, flags)
