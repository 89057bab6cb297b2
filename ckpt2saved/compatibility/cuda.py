"""CUDA, cuDNN and NVIDIA driver versions that TensorFlow and TF Serving need, and the installed driver."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Optional, Tuple, TypeVar

from ckpt2saved.compatibility.requirements import release
from ckpt2saved.files.programs import find_program

_Row = TypeVar("_Row", bound=Tuple[Any, ...])  # a version, and what goes with it

# https://www.tensorflow.org/install/source#gpu, up to 2.18; from 2.14 on also what tensorflow[and-cuda] installs.
_OF_TENSORFLOW = (
    ("1.12", "9.0", "7"),
    ("1.13", "10.0", "7.4"),
    ("2.1", "10.1", "7.6"),
    ("2.4", "11.0", "8.0"),
    ("2.5", "11.2", "8.1"),
    ("2.12", "11.8", "8.6"),
    ("2.14", "11.8", "8.7"),
    ("2.15", "12.2", "8.9"),
    ("2.16", "12.3", "8.9"),
    ("2.18", "12.5", "9.3"),
)

# The base image and CUDNN_VERSION of tensorflow_serving/tools/docker/Dockerfile.gpu at the last tag of each release.
_OF_IMAGES = (
    ("1.13", "10.0", "7.4"),
    ("2.2", "10.1", "7.6"),
    ("2.4", "11.0", "8.0"),
    ("2.5", "11.2", "8.1"),
    ("2.12", "11.8", "8.6"),
    ("2.15", "12.2", "8.9"),
    ("2.20", "12.5", "9.3"),
)

# The oldest driver for Linux that runs programs built with it: CUDA Toolkit Release Notes and, from 11 on, where all of
# one major release run on the driver of its first, CUDA Compatibility, "Minor Version Compatibility".
_DRIVERS = (("9.0", "384.81"), ("10.0", "410.48"), ("10.1", "418.39"), ("11.0", "450.80.02"), ("12.0", "525.60.13"))

_PROC = Path("/proc/driver/nvidia/version")
_SECONDS = 20  # nvidia-smi takes seconds where no process keeps the driver loaded


class CudaVersions(NamedTuple):
    """The libraries that a GPU build of TensorFlow loads."""

    cuda: str
    cudnn: str

    @property
    def needs_lengths(self) -> bool:
        """Return whether recurrent networks without lengths of their sequences fail.

        xla/stream_executor/cuda/cuda_dnn.cc: with cuDNN 9 it is built to return "Sequence lengths for RNN are required
        from CUDNN 9.0+" (also https://github.com/tensorflow/tensorflow/issues/105092).
        """
        return release(self.cudnn) >= release("9")


@dataclass(frozen=True)
class Driver:
    """The NVIDIA driver of this machine, and its GPUs."""

    version: Optional[str]
    gpus: Tuple[str, ...]
    reason: str  # why there is no version, or no GPU; "" if there are both

    def runs(self, cuda: str) -> bool:
        """Return whether programs built with a CUDA release run on this driver."""
        return self.version is not None and release(self.version) >= release(oldest_driver(cuda))


def cuda_versions_of(tensorflow: str) -> Optional[CudaVersions]:
    """Return the CUDA and cuDNN that a release's GPU builds use; None before 1.12."""
    row = _row(_OF_TENSORFLOW, tensorflow)
    return CudaVersions(row[1], row[2]) if row else None


def in_image(serving: str) -> CudaVersions:
    """Return the CUDA and cuDNN in the -gpu image of a TF Serving release, 1.13 or newer."""
    row = _row(_OF_IMAGES, serving) or _OF_IMAGES[0]
    return CudaVersions(row[1], row[2])


def oldest_driver(cuda: str) -> str:
    """Return the oldest NVIDIA driver for Linux that supports a CUDA release."""
    return (_row(_DRIVERS, cuda) or _DRIVERS[0])[1]


def find_driver(proc: Path = _PROC) -> Driver:
    """Return the driver that nvidia-smi reports; otherwise that of the driver's own file."""
    program = find_program("nvidia-smi")
    if program is None:
        return _of_proc(proc, "there is no nvidia-smi")
    query = [program, "--query-gpu=driver_version,name,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(
            query, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return _of_proc(proc, f"nvidia-smi does not answer ({getattr(error, 'strerror', None) or 'timeout'})")
    rows = [[cell.strip() for cell in line.split(",", 2)] for line in done.stdout.splitlines()]
    rows = [row for row in rows if len(row) == 3 and release(row[0])]
    if done.returncode != 0 or not rows:
        return _of_proc(proc, f"nvidia-smi reports: {' '.join(done.stdout.split()) or 'nothing'}")
    return Driver(rows[0][0], tuple(f"{name} ({memory})" for _, name, memory in rows), "")


def _of_proc(proc: Path, reason: str) -> Driver:
    try:
        match = re.search(r"Kernel Module\s+(?:for \S+\s+)?([0-9.]+)", proc.read_text(errors="replace"))
    except OSError:
        match = None
    return Driver(match.group(1) if match else None, (), reason)


def _row(table: Tuple[_Row, ...], version: str) -> Optional[_Row]:
    """Return the last row for this version or an older one."""
    rows = [row for row in table if release(row[0]) <= release(version)]
    return rows[-1] if rows else None
