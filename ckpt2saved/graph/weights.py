"""What in a graph is a weight, which training changes, and which ops apply weights to data."""

from __future__ import annotations

import re
from typing import Any, Mapping

_LINEAR = re.compile(
    r"(Conv[123]D|DepthwiseConv2dNative|MatMul|BatchMatMul\w*|Einsum|BlockLSTM\w*|LSTMBlockCell|GRUBlockCell|CudnnRNN\w*"
    r"|_?FusedConv2D|Gather\w*|ResourceGather\w*)\Z"
)


def is_linear(op: str) -> bool:
    """Whether an op applies weights where it is given some: a product, or a look-up in a table of weights."""
    return bool(_LINEAR.match(op))


def is_lookup(op: str) -> bool:
    """Whether an op picks entries of its first input by the numbers in its second."""
    return "Gather" in op


def is_weight(attr: Mapping[str, Any]) -> bool:
    """Whether the variable of these attributes could be trained, which global_step and beta1_power could not."""
    kind = attr["dtype"].type if "dtype" in attr else 1
    scalar = "shape" in attr and not attr["shape"].shape.unknown_rank and not attr["shape"].shape.dim
    return kind in (1, 2, 14, 19) and not scalar  # DT_FLOAT, DT_DOUBLE, DT_BFLOAT16, DT_HALF
