"""The ops and kernels that a TensorFlow registers, as its libraries list them, without importing it."""

from __future__ import annotations

import io
from typing import BinaryIO, Dict, List, NamedTuple, Optional, Set, Tuple, Union

from ckpt2saved.protobuf.wire import Span, fields, integers, text

# Fields of the messages OpList, OpDef, AttrDef, AttrValue, AttrValue.ListValue, KernelList and KernelDef.
_OP = 1
_OP_NAME, _OP_ATTR = 1, 4
_ATTR_NAME, _ATTR_DEFAULT, _ATTR_ALLOWED = 1, 3, 7
_LIST = 1
_KERNEL = 1
_KERNEL_OP, _KERNEL_DEVICE = 1, 2
_STRINGS, _TYPES = 2, 6


class Attribute(NamedTuple):
    """What an op's definition says of one of its attributes."""

    default: Optional[bytes]  # as an AttrValue message; None: every node has to say
    allowed: Optional[Tuple[Union[int, str], ...]]  # DataTypes by their numbers, or texts; None: any


Ops = Dict[str, Dict[str, Attribute]]  # op -> attribute's name -> what it may be


def parse_op_list(content: bytes) -> Ops:
    """The ops of a serialized OpList, as TF_GetAllOpList gives it; raises Malformed for anything else."""
    file = io.BytesIO(content)
    return dict(_op(file, span) for number, span in fields(file, 0, len(content)) if number == _OP)


def parse_kernel_list(content: bytes) -> Dict[str, Set[str]]:
    """Op -> devices of a serialized KernelList, as TF_GetAllRegisteredKernels gives it; raises Malformed."""
    file = io.BytesIO(content)
    devices: Dict[str, Set[str]] = {}
    for number, span in fields(file, 0, len(content)):
        if number == _KERNEL:
            parts = dict(fields(file, *span))
            op, device = (text(file, parts[one]) if one in parts else "" for one in (_KERNEL_OP, _KERNEL_DEVICE))
            devices.setdefault(op, set()).add(device)
    return devices


def _op(file: BinaryIO, span: Span) -> Tuple[str, Dict[str, Attribute]]:
    name = ""
    attributes: Dict[str, Attribute] = {}
    for number, at in fields(file, *span):
        if number == _OP_NAME:
            name = text(file, at)
        elif number == _OP_ATTR:
            key, attribute = _attribute(file, at)
            attributes[key] = attribute
    return name, attributes


def _attribute(file: BinaryIO, span: Span) -> Tuple[str, Attribute]:
    name, default, allowed = "", None, None
    for number, at in fields(file, *span):
        if number == _ATTR_NAME:
            name = text(file, at)
        elif number == _ATTR_DEFAULT:
            file.seek(at[0])
            default = file.read(at[1] - at[0])
        elif number == _ATTR_ALLOWED:
            allowed = tuple(sorted(set(list_items(file, at))))
    return name, Attribute(default, allowed)


def list_items(file: BinaryIO, value: Span) -> List[Union[int, str]]:
    """The types and texts in the list of an AttrValue."""
    items: List[Union[int, str]] = []
    for number, at in fields(file, *value):
        if number != _LIST:
            continue
        for kind, item in fields(file, *at):
            if kind == _STRINGS:
                file.seek(item[0])
                items.append(file.read(item[1] - item[0]).decode("utf-8", "replace"))
            elif kind == _TYPES:
                items.extend(integers(file, item))
    return items
