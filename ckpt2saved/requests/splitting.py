"""Whether TF Serving's batching can concatenate a request with others and split the outputs."""

from __future__ import annotations

from typing import Any, Collection, Dict, FrozenSet, Mapping, Optional, Sequence

import numpy as np

from ckpt2saved.requests.request import Answers, Request

_LEAST = 3  # lines; the dense_shape of a SparseTensor has 2 values, which must not equal the batch size


def batch_apart(sizes: Collection[Any]) -> int:
    """The smallest batch size that is not in `sizes`, so that no output of a made-up request is split by chance."""
    batch = _LEAST
    while batch in sizes:
        batch += 1
    return batch


def batch_of(inputs: Mapping[str, np.ndarray]) -> Optional[int]:
    """The common first dimension of all inputs; None if there is none, so that batching refuses the request."""
    sizes = {value.shape[:1] for value in inputs.values()}
    return sizes.pop()[0] if len(sizes) == 1 and () not in sizes else None


def with_lines(inputs: Mapping[str, np.ndarray], count: int) -> Dict[str, np.ndarray]:
    """The inputs repeated or cut to `count` lines."""
    return {key: np.resize(value, (count,) + value.shape[1:]) for key, value in inputs.items()}


def with_another_line(inputs: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
    """The inputs with one more, blank line: outputs whose first dimension does not grow cannot be split."""
    count = batch_of(inputs) or 0
    more = with_lines(inputs, count + 1)
    for value in more.values():
        if value.dtype.kind == "f" or value.dtype == np.uint8:
            value[count] = 0
    return more


def unsplit_outputs(inputs: Mapping[str, np.ndarray], answers: Answers) -> FrozenSet[str]:
    """Keys of the outputs whose first dimension is not the batch size; all outputs if the inputs have no batch size."""
    batch = batch_of(inputs)
    return frozenset(key for key, value in answers.items() if batch is None or value.shape[:1] != (batch,))


def outputs_seen_unsplit(asked: Sequence[Request], answers: Sequence[Answers]) -> Dict[str, FrozenSet[str]]:
    """Signature -> keys of outputs whose first dimension was not the batch size in some answer.

    Scalar inputs are ignored; requests whose other inputs differ in their first dimension are skipped.
    """
    found: Dict[str, FrozenSet[str]] = {}
    for request, answer in zip(asked, answers):
        inputs = {key: value for key, value in request.inputs.items() if value.shape}
        if batch_of(inputs) is not None:
            keys = unsplit_outputs(inputs, answer) - set(request.inner_fetches)
            found[request.signature] = found.get(request.signature, frozenset()) | keys
    return found
