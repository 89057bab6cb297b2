"""Adds TensorFlow releases to the table of kernels: `python -m tools.make_kernel_table 2.20.0`.

Downloads the packages of each release for the CPU and for GPUs with pip, reads the kernel registry of their libraries
through TensorFlow's C API, in a process of its own and without importing TensorFlow or finding a GPU, and writes the
table again. A release that is in the table is replaced; its packages are deleted once they are read. `--wheel FILE.whl`
reads packages that are already downloaded: the one for the CPU, then the one for GPUs.

The Python that pip runs under must be one for which the release has packages: `--python` as for make_op_table.py. The
packages are tensorflow-cpu and tensorflow; up to 2.0 they are tensorflow and tensorflow-gpu. Since 1.14 those for GPUs
need no CUDA to be read.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Dict, List, Mapping, Sequence, Set, Tuple

import click

from ckpt2saved.graph.kernel_table import (
    PATH,
    Constraints,
    Device,
    KernelTable,
    OpKernels,
    condensed,
    read_kernels,
    with_release,
    write_kernels,
)
from ckpt2saved.graph.op_table import LINKED
from ckpt2saved.graph.registry import Kernel
from tools.make_op_table import Registered, download, read_wheel, version_of

_BEFORE_CPU_PACKAGES = (2, 1)


def add_release(table: KernelTable, wheels: Mapping[Device, Path], python: str) -> KernelTable:
    """Return the table with the kernels of a release, from its package for the CPU and the one for GPUs."""
    kernels: Dict[Device, OpKernels] = {}
    packages: Dict[Device, str] = {}
    releases: Set[str] = set()
    for device, wheel in wheels.items():
        version, release = version_of(wheel)
        found = list(_linked(*read_wheel(wheel, python)))
        if is_for_gpus(found) != (device is Device.GPU):
            raise click.ClickException(f"{wheel}: expected a package that is built for the {device}")
        kernels[device] = of_device(found, device)
        packages[device] = f"{wheel.name.partition('-')[0].replace('_', '-')} {version}"
        releases.add(release)
    if len(releases) != 1:
        raise click.ClickException(f"the packages are of several releases: {', '.join(sorted(releases))}")
    return with_release(table, releases.pop(), packages, kernels)


def is_for_gpus(kernels: Sequence[Kernel]) -> bool:
    """Whether kernels are of a package for GPUs; others register for GPUs what works in host memory alone."""
    return any(kernel.op == "Conv2D" and kernel.device == "GPU" for kernel in kernels)


def of_device(kernels: Sequence[Kernel], device: Device) -> OpKernels:
    """The kernels for a device, without constraints on numbers, by op."""
    found: Dict[str, Set[Constraints]] = {}
    for kernel in kernels:
        if kernel.device in (device.name, "DEFAULT") and not kernel.label:
            constraints = frozenset((attribute, values) for attribute, values in kernel.constraints if values)
            found.setdefault(kernel.op, set()).add(constraints)
    return {op: condensed(ones) for op, ones in found.items()}


def _linked(base: Registered, contrib: Sequence[Tuple[str, Registered]]) -> List[Kernel]:
    """The kernels of a package, with those of contrib that the images of TF Serving link."""
    kernels, before = list(base.kernels), set(base.kernels)
    for library, after in contrib:
        if library.startswith(LINKED):
            kernels += [kernel for kernel in after.kernels if kernel not in before]
        before |= set(after.kernels)
    return kernels


def _packages(version: str) -> Dict[Device, str]:
    if tuple(int(part) for part in version.split(".")[:2]) < _BEFORE_CPU_PACKAGES:
        return {Device.CPU: "tensorflow", Device.GPU: "tensorflow-gpu"}
    return {Device.CPU: "tensorflow-cpu", Device.GPU: "tensorflow"}


@click.command(help=__doc__)
@click.argument("versions", nargs=-1)
@click.option("--python", default=sys.executable, help="Default: this one.")
@click.option("--wheel", "wheels", multiple=True, type=click.Path(exists=True), help="The one for the CPU first.")
def main(versions: Sequence[str], python: str, wheels: Sequence[str]) -> None:
    """Add releases to the table; the module says how."""
    python = os.path.abspath(python) if os.sep in python else python
    if len(wheels) % 2:
        raise click.UsageError(
            "--wheel: expected two packages of each release, the one for the CPU and the one for GPUs"
        )
    table = read_kernels() if PATH.is_file() else KernelTable({}, {device: {} for device in Device})
    for pair in zip(wheels[::2], wheels[1::2]):
        table = add_release(table, dict(zip(Device, map(Path, pair))), python)
    for version in versions:
        with tempfile.TemporaryDirectory(prefix="ckpt2saved-") as folder:
            found = {}
            for device, package in _packages(version).items():
                (Path(folder) / package).mkdir()
                found[device] = download(python, f"{package}=={version}", str(Path(folder) / package))
            table = add_release(table, found, python)
        write_kernels(table)
    write_kernels(table)
    for release, packages in table.packages.items():
        click.echo(f"{release:<6} {', '.join(packages[device] for device in Device)}")
    click.echo(f"{PATH.stat().st_size} bytes in {PATH}")


if __name__ == "__main__":
    main()
