"""Whether a request and its answer are what TF Serving's batching can put together with others, and split again."""

from __future__ import annotations

from typing import Any, Collection, Dict, FrozenSet, Mapping, Optional, Sequence

import numpy as np

from ckpt2saved.requests.request import Answers, Request

_LEAST = 3  # lines: SparseTensors of 2 dimensions have an output of 2 numbers


def batch_apart(sizes: Collection[Any]) -> int:
    """The smallest batch of a made-up request that is no other size: an output is not split by chance."""
    batch = _LEAST
    while batch in sizes:
        batch += 1
    return batch


def batch_of(inputs: Mapping[str, np.ndarray]) -> Optional[int]:
    """The first dimension of all inputs; None where batching would refuse the request."""
    sizes = {value.shape[:1] for value in inputs.values()}
    return sizes.pop()[0] if len(sizes) == 1 and () not in sizes else None


def with_lines(inputs: Mapping[str, np.ndarray], count: int) -> Dict[str, np.ndarray]:
    """The same request with so many lines: the first ones, again and again."""
    return {key: np.resize(value, (count,) + value.shape[1:]) for key, value in inputs.items()}


def with_another_line(inputs: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
    """The same request with a blank line more, which shows what follows the batch and what happens to be as long."""
    count = batch_of(inputs) or 0
    more = with_lines(inputs, count + 1)
    for value in more.values():
        if value.dtype.kind == "f" or value.dtype == np.uint8:
            value[count] = 0
    return more


def unsplit_outputs(inputs: Mapping[str, np.ndarray], answers: Answers) -> FrozenSet[str]:
    """The outputs whose first dimension is not that of all inputs; all of them where the inputs have none."""
    batch = batch_of(inputs)
    return frozenset(key for key, value in answers.items() if batch is None or value.shape[:1] != (batch,))


def outputs_seen_unsplit(asked: Sequence[Request], answers: Sequence[Answers]) -> Dict[str, FrozenSet[str]]:
    """Signature -> outputs that had another first dimension than the batch in some answer.

    Scalars aside, nothing is known where inputs differ in their first dimension.
    """
    found: Dict[str, FrozenSet[str]] = {}
    for request, answer in zip(asked, answers):
        inputs = {key: value for key, value in request.inputs.items() if value.shape}
        if batch_of(inputs) is not None:
            keys = unsplit_outputs(inputs, answer) - set(request.inner_fetches)
            found[request.signature] = found.get(request.signature, frozenset()) | keys
    return found
