"""The ops and kernels that a TensorFlow registers, as its libraries list them, without importing it."""

from __future__ import annotations

from typing import Dict, FrozenSet, List, NamedTuple, Optional, Tuple, Union

from ckpt2saved.files.protobuf.messages import decode
from ckpt2saved.files.protobuf.tensorflow_messages import AttrConstraint, AttrDef, AttrValue, KernelList, OpList
from ckpt2saved.files.protobuf.wire import of_bytes

Value = Union[int, str]  # a DataType's number, or a text


class Attribute(NamedTuple):
    """What an op's definition says of one of its attributes."""

    default: Optional[bytes]  # as an AttrValue message; None: every node has to say
    allowed: Optional[Tuple[Value, ...]]  # None: any


class Kernel(NamedTuple):
    """The registration of a kernel, without its priority and its arguments in host memory."""

    op: str
    device: str  # CPU, GPU, DEFAULT, ...
    label: str  # "" unless nodes have to ask for it by the attribute _kernel
    constraints: FrozenSet[Tuple[str, FrozenSet[Value]]]  # attribute, and its values that the kernel computes


Ops = Dict[str, Dict[str, Attribute]]  # op -> attribute's name -> what it may be


def parse_op_list(content: bytes) -> Ops:
    """The ops of a serialized OpList, as TF_GetAllOpList gives it; raises Malformed for anything else."""
    ops = decode(OpList, of_bytes(content)).op
    return {op.name: {attr.name: _attribute(attr) for attr in op.attr} for op in ops}


def parse_kernel_list(content: bytes) -> List[Kernel]:
    """The kernels of a serialized KernelList, as TF_GetAllRegisteredKernels gives it; raises Malformed."""
    return [
        Kernel(kernel.op, kernel.device_type, kernel.label, frozenset(map(_constraint, kernel.constraint)))
        for kernel in decode(KernelList, of_bytes(content)).kernel
    ]


def _constraint(constraint: AttrConstraint) -> Tuple[str, FrozenSet[Value]]:
    values = () if constraint.allowed_values is None else list_items(constraint.allowed_values)
    return constraint.name, frozenset(values)


def _attribute(attr: AttrDef) -> Attribute:
    default = None if attr.default_value is None else attr.default_value.content()
    allowed = None if attr.allowed_values is None else tuple(sorted(set(list_items(attr.allowed_values))))
    return Attribute(default, allowed)


def list_items(value: AttrValue) -> Tuple[Value, ...]:
    """The texts and types in the list of an AttrValue."""
    if value.list is None:
        return ()
    return tuple(text.decode("utf-8", "replace") for text in value.list.s) + tuple(value.list.type)
