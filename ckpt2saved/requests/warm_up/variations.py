"""Make warm-up requests from the parity cases of a model."""

from __future__ import annotations

from dataclasses import replace
from typing import Dict, Sequence

import numpy as np

from ckpt2saved.requests.parity import case_inputs
from ckpt2saved.requests.request import with_bytes
from ckpt2saved.signature.model import ParityCase, ServedModel
from ckpt2saved.signature.tensors import Signature


def varied_inputs(
    model: ServedModel, cases: Sequence[ParityCase], signature: Signature, number: int
) -> Dict[str, np.ndarray]:
    """The inputs of warm-up request `number`: the parity cases in turn, then again with other batch sizes and sizes.

    Sizes only grow, so that the sequence lengths in the file stay valid.
    """
    case, turn = cases[number % len(cases)], number // len(cases)
    batch = {spec.dimensions[0] if spec.dimensions else None for spec in signature.inputs}
    given = {size for spec in signature.inputs if case.inputs[spec.key].uniform is None for size in spec.dimensions}
    scale = 1 + turn % 2
    dims = {name: size if name in batch or name in given else size * scale for name, size in case.dims.items()}
    made = case_inputs(model, replace(case, dims=dims), number)
    inputs = {spec.key: with_bytes(made[spec.key]) for spec in signature.inputs}
    if turn and len(batch) == 1 and isinstance(next(iter(batch)), str):
        # Repeat rows, because the file has lengths for its own batch size only.
        inputs = {key: np.resize(value, (1 + turn % 4,) + value.shape[1:]) for key, value in inputs.items()}
    return inputs
