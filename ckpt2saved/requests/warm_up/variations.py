"""Warm-up requests made of a model's parity part."""

from __future__ import annotations

from dataclasses import replace
from typing import Dict

import numpy as np

from ckpt2saved.requests.parity import case_inputs, default_case
from ckpt2saved.requests.warm_up.file import with_bytes
from ckpt2saved.signature.model import ServedModel
from ckpt2saved.signature.tensors import Signature


def varied_inputs(model: ServedModel, signature: Signature, number: int) -> Dict[str, np.ndarray]:
    """The parity cases in turn; from then on again, of other batch sizes and twice the size where that is open.

    No line becomes shorter than it is in the file, so that the steps that count in it stay fewer than it has.
    """
    cases = model.parity or (default_case(model),)
    case, turn = cases[number % len(cases)], number // len(cases)
    batch = {spec.dimensions[0] if spec.dimensions else None for spec in signature.inputs}
    given = {size for spec in signature.inputs if case.inputs[spec.key].uniform is None for size in spec.dimensions}
    scale = 1 + turn % 2
    dims = {name: size if name in batch or name in given else size * scale for name, size in case.dims.items()}
    made = case_inputs(model, replace(case, dims=dims), number)
    inputs = {spec.key: with_bytes(made[spec.key]) for spec in signature.inputs}
    if turn and len(batch) == 1 and isinstance(next(iter(batch)), str):
        # Rows again and again: the lengths in the file are as many as the batch is there.
        inputs = {key: np.resize(value, (1 + turn % 4,) + value.shape[1:]) for key, value in inputs.items()}
    return inputs
