"""The kernels of each TensorFlow release for CPUs and GPUs: a table that is part of the package.

`tools/make_kernel_table.py` writes it from the kernel registries inside TensorFlow's packages, those for the CPU and
those for GPUs. Kernels of the device DEFAULT count for both. Left out are XLA's devices, priorities, arguments in host
memory, kernels with a label, which a node has to ask for, and constraints on numbers, which only ApproxTopK's kernels
have. The kernels of tf.contrib are those that the images of TF Serving link.
"""

from __future__ import annotations

import enum
import functools
from pathlib import Path
from typing import Any, Dict, FrozenSet, Iterable, List, Mapping, NamedTuple, Sequence, Set, Tuple

from ckpt2saved.graph.packed import ordered, read_packed, runs, write_packed
from ckpt2saved.graph.registry import Value

PATH = Path(__file__).resolve().parent / "kernels.json.gz"

_FORMAT = 1

Constraints = FrozenSet[Tuple[str, FrozenSet[Value]]]  # attribute, and its values that a kernel computes
Values = Mapping[str, Sequence[Value]]  # a node's attributes: DataTypes by their numbers, and texts
OpKernels = Mapping[str, Tuple[Constraints, ...]]  # op -> its kernels


class Device(enum.Enum):
    """What a server computes on."""

    CPU = "cpu"
    GPU = "gpu"

    def __str__(self) -> str:
        return self.name


class _Stretch(NamedTuple):
    """The kernels of an op in several releases that follow each other."""

    first: int
    last: int
    kernels: Tuple[Constraints, ...]


class KernelTable(NamedTuple):
    """The kernels of several TensorFlow releases."""

    packages: Mapping[str, Mapping[Device, str]]  # "2.4" -> the packages that were read: tensorflow-cpu 2.4.4
    ops: Mapping[Device, Mapping[str, Tuple[_Stretch, ...]]]

    @property
    def releases(self) -> Tuple[str, ...]:
        """The releases, the oldest first."""
        return tuple(self.packages)

    def kernels(self, release: str, op: str, device: Device) -> Tuple[Constraints, ...]:
        """The kernels of an op; () if it has none."""
        index = self.releases.index(release)
        found = [one for one in self.ops[device].get(op, ()) if one.first <= index <= one.last]
        return found[0].kernels if found else ()

    def has_kernel(self, release: str, op: str, values: Values, device: Device) -> bool:
        """Whether a device has a kernel for a node; attributes that are missing in `values` have any value."""
        return any(_computes(kernel, values) for kernel in self.kernels(release, op, device))

    def runs(self, release: str, op: str, values: Values, device: Device) -> bool:
        """Whether a server with this device can run a node: one with a GPU runs on its CPU what has no GPU kernel."""
        devices = {Device.CPU, device}
        return any(self.has_kernel(release, op, values, one) for one in devices)

    def is_for_gpu(self, op: str) -> bool:
        """Whether an op has kernels for GPUs only, in every release that has kernels of it."""
        return bool(self.ops[Device.GPU].get(op)) and op not in self.ops[Device.CPU]

    def attributes(self) -> Mapping[str, FrozenSet[str]]:
        """The attributes on which the kernels of each op depend, in whatever release."""
        found: Dict[str, Set[str]] = {}
        for ops in self.ops.values():
            for op, stretches in ops.items():
                names = (name for one in stretches for kernel in one.kernels for name, _ in kernel)
                found.setdefault(op, set()).update(names)
        return {op: frozenset(names) for op, names in found.items()}

    def allowed(self, release: str, op: str, attribute: str, device: Device) -> FrozenSet[Value]:
        """The values of an attribute for which a device has kernels; empty for any value, or no kernels."""
        found = [dict(kernel).get(attribute) for kernel in self.kernels(release, op, device)]
        return frozenset() if None in found else frozenset(value for one in found for value in one or ())


def _computes(kernel: Constraints, values: Values) -> bool:
    """As KernelAttrsMatch of tensorflow/core/framework/kernel_def_util.cc: of a list of types each must be allowed."""
    return all(value in allowed for attribute, allowed in kernel for value in values.get(attribute, ()))


@functools.lru_cache(maxsize=1)
def shipped_kernels() -> KernelTable:
    """The table that ships with the package, read once."""
    return read_kernels()


def read_kernels(path: Path = PATH) -> KernelTable:
    """The table in a file."""
    content = read_packed(path)
    values = [frozenset(one) for one in content["values"]]
    constraints = [
        frozenset((attribute, values[allowed]) for attribute, allowed in one.items()) for one in content["kernels"]
    ]
    packages = {
        release: {Device(device): package for device, package in found.items()}
        for release, found in content["tensorflow"].items()
    }
    ops = {
        device: {
            op: tuple(
                _Stretch(first, last, tuple(constraints[one] for one in kernels)) for first, last, kernels in stretches
            )
            for op, stretches in content[device.value].items()
        }
        for device in Device
    }
    return KernelTable(packages, ops)


def write_kernels(table: KernelTable, path: Path = PATH) -> None:
    """Write a table: the same content gives the same bytes."""
    values: Dict[Tuple[Value, ...], int] = {}
    kernels: Dict[Tuple[Tuple[str, int], ...], int] = {}

    def number(constraints: Constraints) -> int:
        key = tuple(
            (attribute, values.setdefault(tuple(sorted(allowed, key=str)), len(values)))
            for attribute, allowed in _sorted(constraints)
        )
        return kernels.setdefault(key, len(kernels))

    devices: Dict[str, Dict[str, Any]] = {
        device.value: {
            op: [[one.first, one.last, [number(kernel) for kernel in one.kernels]] for one in table.ops[device][op]]
            for op in sorted(table.ops[device])
        }
        for device in Device
    }
    packages = {
        release: {device.value: found[device] for device in Device} for release, found in table.packages.items()
    }
    content = {
        "format": _FORMAT,
        "tensorflow": packages,
        "values": [list(one) for one in values],
        "kernels": [dict(one) for one in kernels],
    }
    write_packed(dict(content, **devices), path)


def with_release(
    table: KernelTable, release: str, packages: Mapping[Device, str], kernels: Mapping[Device, OpKernels]
) -> KernelTable:
    """Return the table with a release added or replaced; `kernels` as `condensed` returns them."""
    releases = ordered({*table.packages, release})
    ops = {}
    for device in Device:
        names = {*table.ops[device], *kernels[device]}
        columns = {
            op: [kernels[device].get(op, ()) if one == release else table.kernels(one, op, device) for one in releases]
            for op in names
        }
        ops[device] = {
            op: tuple(_Stretch(*run) for run in runs([found or None for found in column]))
            for op, column in columns.items()
            if any(column)
        }
    return KernelTable({one: dict(table.packages, **{release: packages})[one] for one in releases}, ops)


def condensed(kernels: Iterable[Constraints]) -> Tuple[Constraints, ...]:
    """Return the fewest kernels for the same nodes: those that differ in one attribute alone are one kernel."""
    found = set(kernels)
    while True:
        merged = set(found)
        for attribute in sorted({attribute for kernel in found for attribute, _ in kernel}):
            merged = _merged(merged, attribute)
        if merged == found:
            break
        found = merged
    needed = [one for one in found if not any(one != other and _includes(other, one) for other in found)]
    return tuple(sorted(needed, key=lambda kernel: str(_sorted(kernel))))


def _merged(kernels: Iterable[Constraints], attribute: str) -> Set[Constraints]:
    """Kernels that differ in the values of one attribute alone, as one."""
    alike: Dict[Constraints, List[FrozenSet[Value]]] = {}
    others: Set[Constraints] = set()
    for kernel in kernels:
        allowed = dict(kernel).get(attribute)
        if allowed is None:
            others.add(kernel)
        else:
            alike.setdefault(kernel - {(attribute, allowed)}, []).append(allowed)
    return others | {rest | {(attribute, frozenset().union(*allowed))} for rest, allowed in alike.items()}


def _includes(kernel: Constraints, other: Constraints) -> bool:
    """Whether a kernel computes whatever another one does."""
    of_other = dict(other)
    return all(attribute in of_other and of_other[attribute] <= allowed for attribute, allowed in kernel)


def _sorted(constraints: Constraints) -> List[Tuple[str, List[Value]]]:
    return [(attribute, sorted(allowed, key=str)) for attribute, allowed in sorted(constraints, key=lambda one: one[0])]
