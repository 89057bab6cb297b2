"""The nodes of a SavedModel for which a server's device has no kernel."""

from __future__ import annotations

from typing import Dict, FrozenSet, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ckpt2saved.compatibility.cuda import in_image
from ckpt2saved.compatibility.demands import Demands, choices_of_default
from ckpt2saved.compatibility.image import ServerKind
from ckpt2saved.files.protobuf.data_types import name_of, number_of
from ckpt2saved.graph.kernel_table import Device, KernelTable, Values
from ckpt2saved.graph.op_table import OpTable, allows
from ckpt2saved.graph.ops import PYTHON
from ckpt2saved.graph.registry import Value

_WITHOUT_LENGTHS = ("CudnnRNN", "CudnnRNNV2")  # cuDNN's recurrent networks without an input for lengths

_Given = FrozenSet[Tuple[str, Tuple[Value, ...]]]  # attributes on which kernels depend, and the values of a node


class NoKernel(NamedTuple):
    """Why a server cannot run some nodes of an op."""

    op: str
    attribute: str  # whose value is the reason; "" where there is no kernel for any value, or for this combination
    value: str
    reason: str
    remedy: str


def find_missing(
    demands: Demands, servers: Sequence[ServerKind], ops: OpTable, kernels: KernelTable
) -> Dict[ServerKind, Dict[NoKernel, List[str]]]:
    """Return for each server the nodes without kernel.

    TensorFlow places every node of the graph when it is loaded, also one that no request runs, and those of a function
    when it is first called. A server with a GPU places on its CPU what has no kernel for GPUs.
    """
    search = _Search(ops, kernels)
    devices = {server.device for server in servers}
    uses = {device: _condensed(demands, device, search.attributes) for device in devices}
    return {server: search.missing(server, uses[server.device]) for server in servers}


def _condensed(
    demands: Demands, device: Device, attributes: Mapping[str, FrozenSet[str]]
) -> Dict[Tuple[str, _Given], List[str]]:
    """Return the uses with those attributes alone on which kernels depend, without nodes that never run."""
    uses: Dict[Tuple[str, _Given], List[str]] = {}
    for use, nodes in [*demands.uses.items(), *(demands.on_gpus.items() if device is Device.GPU else ())]:
        seen = attributes.get(use.op, frozenset())
        given = frozenset((one.name, one.choices) for one in use.attributes if one.name in seen)
        found = [node for node in nodes if node not in demands.idle]
        if found and use.op not in PYTHON:
            uses.setdefault((use.op, given), []).extend(found)
    return uses


def _refused_by_cudnn(server: ServerKind, op: str) -> Optional[NoKernel]:
    """Return why an op that has a kernel for GPUs fails there; None if it does not."""
    versions = in_image(server.image.version)
    if server.device is Device.CPU or op not in _WITHOUT_LENGTHS or not versions.needs_lengths:
        return None
    reason = f"its kernel fails every request with cuDNN {versions.cudnn}, which {server.image.tag(gpu=True)} has"
    return NoKernel(op, "", "", reason, "export it with --for-device gpu, which writes CudnnRNNV3")


class _Search:
    """Looks for kernels of several releases."""

    def __init__(self, ops: OpTable, kernels: KernelTable) -> None:
        self._ops, self._kernels = ops, kernels
        self.attributes = kernels.attributes()

    def missing(
        self, server: ServerKind, uses: Mapping[Tuple[str, _Given], Sequence[str]]
    ) -> Dict[NoKernel, List[str]]:
        """Return the nodes that a server cannot run; not those with an op or a value that its TensorFlow lacks."""
        found: Dict[NoKernel, List[str]] = {}
        for (op, given), nodes in uses.items():
            values = self._values(server.image.minor, op, given)
            if values is None:
                continue
            runs = self._kernels.runs(server.image.minor, op, values, server.device)
            problem = _refused_by_cudnn(server, op) if runs else self._problem(server, op, values)
            if problem is not None:
                found.setdefault(problem, []).extend(nodes)
        return found

    def _values(self, release: str, op: str, given: _Given) -> Optional[Values]:
        """Return a node's values, with the defaults of a release; None for what the release does not know."""
        values = dict(given)
        if op not in self._ops.releases[release]:
            return values if release in self._ops.linking(op) else None
        for name in self.attributes.get(op, ()):
            definition = self._ops.releases[release][op].get(name)
            if definition is None:
                values.pop(name, None)
            elif name not in values:
                if definition.default is None:
                    return None
                values[name] = choices_of_default(definition.default)
            elif not all(allows(definition, value) for value in values[name]):
                return None
        return values

    def _problem(self, server: ServerKind, op: str, values: Values) -> NoKernel:
        release, device = server.image.minor, server.device
        on = "CPUs" if device is Device.CPU else "CPUs or GPUs"
        elsewhere = device is Device.CPU and self._kernels.runs(release, op, values, Device.GPU)
        serve = f"serve it with {server.image.tag(gpu=True)} on a GPU" if elsewhere else ""
        if not any(self._kernels.kernels(release, op, one) for one in {Device.CPU, device}):
            reason = f"no kernel for {on} in {release}"
            return NoKernel(op, "", "", f"{reason}, only for GPUs" if elsewhere else reason, serve)
        name, value = self._culprit(server, op, values)
        if not name:
            all_values = ", ".join(f"{name}={_texts(values[name])}" for name in sorted(values) if values[name])
            return NoKernel(op, "", "", f"no kernel for {on} in {release} with {all_values}", serve)
        allowed = self._allowed(server, op, name)
        reason = f"no kernel for {on} in {release} with this value, but with {_texts(sorted(allowed, key=str))}"
        float32 = number_of("float32")
        if _is_float(value) and float32 in allowed:
            serve = f"compute it in float32{serve and ', or ' + serve}"
        return NoKernel(op, name, _texts([value]), reason + (", and for GPUs with it" if elsewhere else ""), serve)

    def _culprit(self, server: ServerKind, op: str, values: Values) -> Tuple[str, Value]:
        """Return an attribute with a value that no kernel of an op computes; "" if it is their combination."""
        for name in sorted(values):
            allowed = self._allowed(server, op, name)
            wrong = [value for value in values[name] if allowed and value not in allowed]
            if wrong:
                return name, wrong[0]
        return "", ""

    def _allowed(self, server: ServerKind, op: str, attribute: str) -> FrozenSet[Value]:
        devices = {
            device for device in {Device.CPU, server.device} if self._kernels.kernels(server.image.minor, op, device)
        }
        found = [self._kernels.allowed(server.image.minor, op, attribute, device) for device in devices]
        return frozenset().union(*found) if all(found) else frozenset()


def _is_float(value: Value) -> bool:
    return isinstance(value, int) and name_of(value) in ("float16", "bfloat16", "float64")


def _texts(values: Sequence[Value]) -> str:
    return ", ".join(name_of(value) or "data type 0" if isinstance(value, int) else value for value in values)
