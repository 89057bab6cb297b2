"""Make up requests from the shapes and dtypes of a signature, without TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import List, Mapping

import numpy as np

from ckpt2saved.errors.problem import Note
from ckpt2saved.files.protobuf.data_types import STRING, numpy_dtype
from ckpt2saved.requests.batching import fixed_sizes
from ckpt2saved.requests.request import MADE_UP, Request, Requests, not_run
from ckpt2saved.requests.splitting import batch_apart
from ckpt2saved.signature.tensors import Signature, TensorSpec

MADE_UP_SIZE = 64  # for dimensions of unknown size other than the batch dimension
HIGHEST_PIXEL = 255.0
MOST_VALUES = 1 << 28  # of one input; a page at 600 dpi has 100 million


def make_by_shape(version_dir: Path, signatures: Mapping[str, Signature]) -> Requests:
    """One made-up request for each signature: random pixels, 1 for integers. The graph may refuse it."""
    requests: List[Request] = []
    unasked: List[Note] = []
    for name, signature in signatures.items():
        try:
            batch = batch_apart(fixed_sizes(signature) | {MADE_UP_SIZE})
            inputs = {tensor.key: made_up(tensor, batch) for tensor in signature.inputs}
        except ValueError as error:
            unasked.append(not_run(name, str(error)))
        else:
            requests.append(Request(MADE_UP, name, inputs, is_made_up=True))
    return Requests(tuple(requests), tuple(unasked))


def made_up(tensor: TensorSpec, batch: int, size_of_axis: Mapping[int, int] = {}) -> np.ndarray:
    """Random pixels, or 1 for integers; `size_of_axis` where the signature leaves a size open, MADE_UP_SIZE without.

    Raises ValueError if the values can't be guessed, or would be too many.
    """
    if tensor.dtype == STRING:
        raise ValueError(f"{tensor.key} takes strings, which can't be guessed")
    if tensor.shape is None:
        raise ValueError(f"{tensor.key} may have any number of dimensions")
    dtype = numpy_dtype(tensor.dtype)
    sizes = {0: batch, **size_of_axis}
    shape = [size if isinstance(size, int) else sizes.get(axis, MADE_UP_SIZE) for axis, size in enumerate(tensor.shape)]
    if np.prod([float(size) for size in shape]) > MOST_VALUES:
        raise ValueError(f"{tensor.key} has the shape {shape}, more than {MOST_VALUES} values")
    if dtype.kind == "f" or dtype == np.uint8:
        return np.random.RandomState(0).uniform(0.0, HIGHEST_PIXEL, shape).astype(dtype)
    if dtype.kind in "iu":
        return np.ones(shape, dtype)
    raise ValueError(f"{tensor.key} takes {dtype.name}, which can't be guessed")
