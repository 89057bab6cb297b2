"""Whether requests for a signature survive TF Serving's batching, which splits answers by their first dimension."""

from __future__ import annotations

from typing import Collection, FrozenSet, Optional, Sequence, Tuple

from ckpt2saved.signature.tensors import Signature, TensorSpec

DEFAULT_SIGNATURE = "serving_default"


def batching_problems(signature: Signature, seen: Collection[str] = ()) -> Tuple[str, ...]:
    """Why requests for the signature fail on a server that batches; () if they don't.

    `seen` are the outputs that answered with another first dimension than the batch when the version was exported.
    """
    problems = []
    for kind, tensors in (("input", signature.inputs), ("output", signature.outputs)):
        sparse = _sparse_values(tensors)
        for tensor in tensors:
            problem = _problem(tensor)
            if kind == "output" and not problem and tensor.key in tuple(seen) + sparse:
                problem = "answers with another number of rows than the batch has"
            if problem:
                problems.append(f"{kind} {described(tensor)} {problem}")
    return tuple(problems)


def keys_without_batch(signature: Signature, seen: Collection[str] = ()) -> Tuple[str, ...]:
    """The inputs and outputs whose first dimension can't be the batch, or was `seen` to be another, by their keys."""
    return inputs_without_batch(signature) + outputs_without_batch(signature, seen)


def inputs_without_batch(signature: Signature) -> Tuple[str, ...]:
    """The inputs whose first dimension can't be the batch, by their keys."""
    return tuple(tensor.key for tensor in signature.inputs if _problem(tensor))


def outputs_without_batch(signature: Signature, seen: Collection[str] = ()) -> Tuple[str, ...]:
    """The outputs whose first dimension can't be the batch, or was `seen` to be another, by their keys."""
    sparse = _sparse_values(signature.outputs)
    return tuple(
        tensor.key for tensor in signature.outputs if _problem(tensor) or tensor.key in seen or tensor.key in sparse
    )


def _sparse_values(tensors: Sequence[TensorSpec]) -> Tuple[str, ...]:
    """The values of a SparseTensor in three parts: as many as its indices have rows, which is not the batch."""
    sizes = {tensor.key: tensor.shape for tensor in tensors}
    return tuple(
        key
        for tensor in tensors
        if _are_indices(tensor)
        for key in [tensor.key[: -len("indices")] + "values"]
        if sizes.get(key) == (None,)
    )


def without_batch_text(keys: Sequence[str]) -> str:
    """What such a signature is not for; empty where there are no such `keys`."""
    return f"cannot be used with --enable_batching: {', '.join(keys)}" if keys else ""


def has_open_batch(signature: Signature) -> bool:
    """Whether every input has a first dimension that a request may choose."""
    return bool(signature.inputs) and all(tensor.has_open_batch for tensor in signature.inputs)


def fixed_sizes(signature: Signature) -> FrozenSet[int]:
    """All sizes of inputs and outputs that a request can't choose."""
    return frozenset(size for tensor in signature.inputs + signature.outputs for size in tensor.fixed_sizes)


def _problem(tensor: TensorSpec) -> Optional[str]:
    if not tensor.tensor:
        return "is a SparseTensor bound whole, which TF Serving can't fetch"
    if tensor.shape is None:
        return None  # unknown until it runs
    if not tensor.shape:
        return "has no dimension at all"
    if not tensor.has_open_batch:
        return f"is {tensor.shape[0]} long whatever the batch"
    # Of a SparseTensor in three parts only output_shape gives itself away by its size.
    if _are_indices(tensor):
        return "has a row for each value of a SparseTensor, not for each item of the batch"
    return None


def _are_indices(tensor: TensorSpec) -> bool:
    return tensor.dtype == "int64" and tensor.shape == (None, 2) and tensor.key.endswith("indices")


def described(tensor: TensorSpec) -> str:
    """A tensor's key and shape for people, as in `input_data [?, 32, ?, 3]`."""
    if tensor.shape is None:
        return f"{tensor.key} (of unknown rank)"
    return f"{tensor.key} {tensor.shape_text}"
