"""Names of nodes and tensors, as NodeDefs and people write them; without TensorFlow."""

from __future__ import annotations

from typing import Tuple

Ref = Tuple[str, int]  # a tensor: its node, and which of the node's outputs it is


def parsed(name: str) -> Ref:
    """The tensor of a name such as `split:1`, or `logits` for its first output."""
    node, _, index = name.partition(":")
    return node, int(index or 0)


def full_name(ref: Ref) -> str:
    """A tensor as people write it: `logits:0`."""
    return f"{ref[0]}:{ref[1]}"


def written(ref: Ref) -> str:
    """A tensor as a NodeDef names its inputs: `logits`, `split:1`."""
    return ref[0] if ref[1] == 0 else full_name(ref)


def node_name(name: str) -> str:
    """The node that a tensor (`node:1`), a control input (`^node`) or an operation belongs to."""
    return name.lstrip("^").partition(":")[0]
