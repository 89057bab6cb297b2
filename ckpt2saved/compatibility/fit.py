"""The ops, attributes and kernels for a SavedModel that a release of TF Serving lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, FrozenSet, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ckpt2saved.compatibility.demands import Demands, Given, Use, read_demands
from ckpt2saved.compatibility.image import Image, ServerKind, known_images
from ckpt2saved.compatibility.kernels import NoKernel, find_missing
from ckpt2saved.compatibility.requirements import minor, release
from ckpt2saved.errors import NotCompatible, NotServable, ServingError
from ckpt2saved.errors.problem import Problem, listed
from ckpt2saved.files.protobuf.data_types import name_of
from ckpt2saved.graph.kernel_table import Device, shipped_kernels
from ckpt2saved.graph.op_table import OpTable, allows, shipped_table
from ckpt2saved.graph.ops import PYTHON
from ckpt2saved.versions import read_provenance

# tensorflow/core/framework/node_def_util.cc: "Unknown attributes will be ignored". Up to 2.4 a node of the graph with
# one keeps the graph from loading, and one of a function fails the request that runs it.
_IGNORES_ATTRIBUTES = (2, 5)
_CODES = {"kernel": "kernel-not-in-serving"}  # of problems, by the kind of misfit
_MEANINGLESS = ("debug_name",)  # for messages to people


class Misfit(NamedTuple):
    """An op, attribute, value or kernel that a server lacks, and the nodes that use it."""

    kind: str  # op, attribute, value, missing attribute, or kernel
    op: str
    attribute: str  # "" where it is the op
    value: str  # "" unless it is the attribute's value
    reason: str
    nodes: Tuple[str, ...]
    remedy: str = ""  # of this misfit alone; see `advice` for what helps with all

    def __str__(self) -> str:
        return f"{self.subject}: {self.found}"

    @property
    def found(self) -> str:
        """Return the reason, and the first nodes."""
        return f"{self.reason} ({nodes_text(self.nodes)})"

    def as_problem(self) -> Problem:
        """Return a problem of a version for a server that lacks this."""
        return Problem(_CODES.get(self.kind, "op-not-in-serving"), self.subject, self.found, self.remedy)

    @property
    def subject(self) -> str:
        """Return Conv2D, Conv2D.padding or Conv2D.padding=EXPLICIT."""
        return self.op + (self.attribute and "." + self.attribute) + (self.value and "=" + self.value)


def find_misfits(
    demands: Demands, images: Sequence[Image], table: OpTable, device: Device = Device.CPU
) -> Dict[Image, Tuple[Misfit, ...]]:
    """Return what servers of each release lack on a device: first what prevents loading, then answering."""
    uses = _condensed(demands, table)
    servers = {image: ServerKind(image, device) for image in images}
    missing = find_missing(demands, list(servers.values()), table, shipped_kernels())
    return {
        image: _misfits(uses, demands.idle, image, table) + _of_kernels(missing[server])
        for image, server in servers.items()
    }


def fitting_images(misfits: Mapping[Image, Sequence[Misfit]]) -> Tuple[Image, ...]:
    """Return the images that lack nothing."""
    return tuple(image for image, found in misfits.items() if not found)


def contrib_ops(demands: Demands, table: OpTable) -> Tuple[str, ...]:
    """Return the used ops that exist only in tf.contrib."""
    return tuple(sorted(op for op in {use.op for use in demands.uses} if _is_contrib(op, table)))


def ops_for_gpu(demands: Demands) -> Tuple[str, ...]:
    """Return the used ops that have kernels for GPUs only, in whatever release has them."""
    return tuple(sorted(op for op in {use.op for use in demands.uses} if shipped_kernels().is_for_gpu(op)))


_NOT_LINKED = "an op of tf.contrib, and no image of TF Serving links it"


def linked_text(releases: Iterable[str]) -> str:
    """Return which servers have an op of tf.contrib, whose library the images of `releases` link."""
    linking = [release for release in releases if release in {image.minor for image in known_images()}]
    if not linking:
        return _NOT_LINKED
    return f"an op of tf.contrib, which TF Serving has in {releases_text(linking)} only"


def origin_text(op: str, table: OpTable) -> str:
    """Return where an op that the TensorFlow or server at hand lacks is available."""
    if op in PYTHON:
        return "it calls Python, which a server does not have"
    having, linking = table.releases_with(op), table.linking(op)
    if having:
        return _since(having, table)
    if op in table.contrib:
        return linked_text(linking)
    # The image's additions are not in the table, and none of them belongs to the reading of text in pictures.
    return (
        f"no op of any TensorFlow from {list(table.releases)[0]} to {list(table.releases)[-1]}: an add-on's or your"
        " own, and the image has of add-ons only TensorFlow Text's (2.0 or newer) and Decision Forests' (2.11 or"
        " newer)"
    )


def check_linked(ops: Mapping[str, str], table: OpTable) -> List[Problem]:
    """Return a problem for each node with an op of tf.contrib that no server has."""
    remedy = "build the graph without it, or cut it before this node"
    return [
        Problem("contrib-op", node, _NOT_LINKED, remedy, op=op)
        for node, op in ops.items()
        if _is_contrib(op, table) and not table.linking(op)
    ]


def _is_contrib(op: str, table: OpTable) -> bool:
    return op in table.contrib and not table.releases_with(op)


def check_fit(demands: Demands, server: ServerKind) -> None:
    """Raise NotCompatible with everything that this release of TF Serving lacks on its device, and the remedy."""
    table, (image, device) = shipped_table(), server
    misfits = find_misfits(demands, [image], table, device)[image]
    if misfits:
        fitting = {one: fitting_images(find_misfits(demands, known_images(), table, one)) for one in Device}
        raise NotCompatible(
            f"the SavedModel asks for what TF Serving {image.version} does not have; {advice(server, fitting)}",
            [misfit.as_problem() for misfit in misfits],
        )


def kernel_problems(version_dir: Path, tensorflow: str, device: Optional[Device] = None) -> Tuple[Problem, ...]:
    """Return a problem for each op of a version for which a server has no kernel; none if the ops can't be read.

    The server is the one that the version was exported for (`export --for-serving`), or else has the release of
    `tensorflow`, or is the newest. By default its device is the recorded one, or the CPU.
    """
    return tuple(
        misfit.as_problem() for misfit in _without_kernel(version_dir, _server_of(version_dir, tensorflow, device))
    )


def ops_for_its_gpu(version_dir: Path, tensorflow: str, device: Optional[Device] = None) -> Tuple[str, ...]:
    """Return what the CPU has no kernel for, in a version for servers with a GPU; () for others. As kernel_problems."""
    server = _server_of(version_dir, tensorflow, device)
    if server.device is Device.CPU:
        return ()
    return tuple(misfit.subject for misfit in _without_kernel(version_dir, server._replace(device=Device.CPU)))


def _without_kernel(version_dir: Path, server: ServerKind) -> Tuple[Misfit, ...]:
    try:
        demands = read_demands(version_dir)
    except (ServingError, NotServable):
        return ()
    missing = find_missing(demands, [server], shipped_table(), shipped_kernels())[server]
    return _of_kernels(missing)


def _server_of(version_dir: Path, tensorflow: str, device: Optional[Device]) -> ServerKind:
    recorded = read_provenance(version_dir) or {}
    known = {image.minor: image for image in known_images()}
    minors = [minor(str(recorded.get("for_serving"))), minor(tensorflow)]
    image = next((known[one] for one in minors if one in known), known_images()[-1])
    return ServerKind(image, device or (Device.GPU if recorded.get("for_device") == Device.GPU.value else Device.CPU))


def advice(server: ServerKind, fitting: Mapping[Device, Sequence[Image]]) -> str:
    """Return the remedy if a server does not fit; `fitting` are the releases that do, by device."""
    image, device = server
    if device is Device.CPU and not fitting[device] and fitting[Device.GPU]:
        minors = [one.minor for one in fitting[Device.GPU]]
        return f"no release has everything for CPUs; on a GPU serve it with {releases_text(minors)}"
    if not fitting[device]:
        return "no known release has everything: build the graph without these ops and attributes"
    build = f"build the graph without these ops and attributes, for which one way is TensorFlow {image.minor}"
    return f"serve it with {releases_text([one.minor for one in fitting[device]])}, or {build}"


def releases_text(minors: Sequence[str]) -> str:
    """Return known releases as ranges: 2.4 or newer; 1.15, 2.1 or newer; 1.14 to 2.3."""
    known = [image.minor for image in known_images()]
    stretches = _stretches([known.index(minor) for minor in minors])
    parts: List[str] = []
    for first, last in stretches:
        if last == len(known) - 1 and first != last:
            parts.append(known[first] + " or newer")
        elif first == last:
            parts.append(known[first])
        else:
            parts.append(f"{known[first]} to {known[last]}")
    return ", ".join(parts)


def nodes_text(nodes: Sequence[str], most: int = 3) -> str:
    """Return the number of nodes, and the names of the first."""
    if len(nodes) == 1:
        return f"node {nodes[0]}"
    return f"{len(nodes)} nodes: {listed(nodes, most)}"


def _condensed(demands: Demands, table: OpTable) -> Dict[Use, List[str]]:
    """Return the uses without attribute values that fit every release, so that more nodes share one."""
    oldest = table.releases[known_images()[0].minor]
    uses: Dict[Use, List[str]] = {}
    for use, nodes in demands.uses.items():
        known = oldest.get(use.op, {})
        attributes = frozenset(one._replace(value=None) if one.name in known else one for one in use.attributes)
        uses.setdefault(Use(use.op, attributes), []).extend(nodes)
    return uses


def _misfits(
    uses: Mapping[Use, Sequence[str]], idle: FrozenSet[str], image: Image, table: OpTable
) -> Tuple[Misfit, ...]:
    found: Dict[Tuple[str, str, str, str, str], List[str]] = {}
    for use, nodes in uses.items():
        for key in _problems(use, image, table):
            # A function's attributes are looked at when it is first run; all the rest when the graph is loaded.
            refused = [node for node in nodes if node not in idle] if key[0] == "attribute" else nodes
            if refused:
                found.setdefault(key, []).extend(refused)
    order = {"op": 0, "missing attribute": 1, "attribute": 2, "value": 3}
    keys = sorted(found, key=lambda key: (order[key[0]], key))
    return tuple(Misfit(*key, nodes=tuple(found[key])) for key in keys)


def _of_kernels(missing: Mapping[NoKernel, Sequence[str]]) -> Tuple[Misfit, ...]:
    return tuple(
        Misfit("kernel", one.op, one.attribute, one.value, one.reason, tuple(missing[one]), one.remedy)
        for one in sorted(missing)
    )


def _problems(use: Use, image: Image, table: OpTable) -> Iterator[Tuple[str, str, str, str, str]]:
    """Return kind, op, attribute, value and reason of everything that a release lacks."""
    ops = table.releases[image.minor]
    if use.op in PYTHON:
        yield "op", use.op, "", "", "it calls Python, which a server does not have"
        return
    if use.op not in ops:
        reason = _reason_of_op(use.op, image, table)
        if reason:
            yield "op", use.op, "", "", reason
        return
    names = {given.name for given in use.attributes}
    for name, definition in ops[use.op].items():
        if name not in names and definition.default is None:
            reason = "{} wants the attribute, which was left to a default that newer releases have"
            yield "missing attribute", use.op, name, "", reason.format(image.minor)
    for given in use.attributes:
        if given.name not in ops[use.op]:
            reason = _reason_of_attribute(use.op, given, image, table)
            if reason:
                yield "attribute", use.op, given.name, "", reason
            continue
        for value in given.choices:
            if not allows(ops[use.op][given.name], value):
                text = (name_of(value) or "data type 0") if isinstance(value, int) else value
                since = _since(table.releases_allowing(use.op, given.name, value), table)
                reason = f"a value that {image.minor} does not allow; {since}"
                yield "value", use.op, given.name, text, reason


def _reason_of_attribute(op: str, given: Given, image: Image, table: OpTable) -> str:
    """Return why a release can't accept an unknown attribute; "" if ignoring it changes no answer."""
    having = table.releases_with_attribute(op, given.name)
    if release(image.minor) < _IGNORES_ATTRIBUTES:
        return f"an attribute that {image.minor} refuses; {_since(having, table)}"
    if given.name in _MEANINGLESS or having and table.releases[having[-1]][op][given.name].default == given.value:
        return ""
    return f"an attribute that {image.minor} ignores, and so answers otherwise; {_since(having, table)}"


def _reason_of_op(op: str, image: Image, table: OpTable) -> str:
    """Return why a release lacks an op; "" if the server has it from tf.contrib."""
    if image.minor in table.linking(op):
        return ""
    having = table.releases_with(op)
    return f"no op of {image.minor}; {_since(having, table)}" if having else origin_text(op, table)


def _since(having: Sequence[str], table: OpTable) -> str:
    """Return the releases of TensorFlow that have an op; ops of 1.15 may be missing in 2.0."""
    known = list(table.releases)
    parts: List[str] = []
    for first, last in _stretches([known.index(one) for one in having]):
        if last == len(known) - 1:
            parts.append("since " + known[first])
        elif first == last:
            parts.append("in " + known[first])
        else:
            parts.append(f"from {known[first]} to {known[last]}")
    return "TensorFlow has it " + " and ".join(parts) if parts else "no TensorFlow release has it"


def _stretches(indices: Sequence[int]) -> List[Tuple[int, int]]:
    stretches: List[Tuple[int, int]] = []
    for index in indices:
        if stretches and stretches[-1][1] == index - 1:
            stretches[-1] = (stretches[-1][0], index)
        else:
            stretches.append((index, index))
    return stretches
