"""The ops and kernels that a TensorFlow registers, as its libraries list them, without importing it."""

from __future__ import annotations

from typing import Dict, NamedTuple, Optional, Set, Tuple, Union

from ckpt2saved.files.protobuf.messages import decode
from ckpt2saved.files.protobuf.tensorflow_messages import AttrDef, AttrValue, KernelList, OpList
from ckpt2saved.files.protobuf.wire import of_bytes


class Attribute(NamedTuple):
    """What an op's definition says of one of its attributes."""

    default: Optional[bytes]  # as an AttrValue message; None: every node has to say
    allowed: Optional[Tuple[Union[int, str], ...]]  # DataTypes by their numbers, or texts; None: any


Ops = Dict[str, Dict[str, Attribute]]  # op -> attribute's name -> what it may be


def parse_op_list(content: bytes) -> Ops:
    """The ops of a serialized OpList, as TF_GetAllOpList gives it; raises Malformed for anything else."""
    ops = decode(OpList, of_bytes(content)).op
    return {op.name: {attr.name: _attribute(attr) for attr in op.attr} for op in ops}


def parse_kernel_list(content: bytes) -> Dict[str, Set[str]]:
    """Op -> devices of a serialized KernelList, as TF_GetAllRegisteredKernels gives it; raises Malformed."""
    devices: Dict[str, Set[str]] = {}
    for kernel in decode(KernelList, of_bytes(content)).kernel:
        devices.setdefault(kernel.op, set()).add(kernel.device_type)
    return devices


def _attribute(attr: AttrDef) -> Attribute:
    default = None if attr.default_value is None else attr.default_value.content()
    allowed = None if attr.allowed_values is None else tuple(sorted(set(list_items(attr.allowed_values))))
    return Attribute(default, allowed)


def list_items(value: AttrValue) -> Tuple[Union[int, str], ...]:
    """The texts and types in the list of an AttrValue."""
    if value.list is None:
        return ()
    return tuple(text.decode("utf-8", "replace") for text in value.list.s) + tuple(value.list.type)
