"""Whether a signature can be used with TF Serving's batching, which splits outputs along the first dimension."""

from __future__ import annotations

from typing import Collection, FrozenSet, Optional, Sequence, Tuple

from ckpt2saved.signature.tensors import Signature, TensorSpec


def batching_problems(signature: Signature, seen: Collection[str] = ()) -> Tuple[str, ...]:
    """The reasons why the signature cannot be used with --enable_batching; () if it can.

    `seen` are keys of outputs whose first dimension was not the batch size when the version was exported.
    """
    problems = []
    for kind, tensors in (("input", signature.inputs), ("output", signature.outputs)):
        sparse = _sparse_values(tensors)
        for tensor in tensors:
            problem = _problem(tensor)
            if kind == "output" and not problem and tensor.key in tuple(seen) + sparse:
                problem = "has another first dimension than the batch"
            if problem:
                problems.append(f"{kind} {described(tensor)} {problem}")
    return tuple(problems)


def keys_without_batch(signature: Signature, seen: Collection[str] = ()) -> Tuple[str, ...]:
    """Keys of the inputs and outputs without a batch dimension; outputs in `seen` count as such."""
    return inputs_without_batch(signature) + outputs_without_batch(signature, seen)


def inputs_without_batch(signature: Signature) -> Tuple[str, ...]:
    """Keys of the inputs without a batch dimension."""
    return tuple(tensor.key for tensor in signature.inputs if _problem(tensor))


def outputs_without_batch(signature: Signature, seen: Collection[str] = ()) -> Tuple[str, ...]:
    """Keys of the outputs without a batch dimension; those in `seen` count as such."""
    sparse = _sparse_values(signature.outputs)
    return tuple(
        tensor.key for tensor in signature.outputs if _problem(tensor) or tensor.key in seen or tensor.key in sparse
    )


def _sparse_values(tensors: Sequence[TensorSpec]) -> Tuple[str, ...]:
    """Keys of the values of a SparseTensor in three parts: they have one row for each index, not one for each item."""
    sizes = {tensor.key: tensor.shape for tensor in tensors}
    return tuple(
        key
        for tensor in tensors
        if _are_indices(tensor)
        for key in [tensor.key[: -len("indices")] + "values"]
        if sizes.get(key) == (None,)
    )


def without_batch_text(keys: Sequence[str]) -> str:
    """A note that names the `keys` without a batch dimension; "" if there are none."""
    return f"cannot be used with --enable_batching: {', '.join(keys)}" if keys else ""


def has_open_batch(signature: Signature) -> bool:
    """Whether every input has a batch dimension of unknown size."""
    return bool(signature.inputs) and all(tensor.has_open_batch for tensor in signature.inputs)


def fixed_sizes(signature: Signature) -> FrozenSet[int]:
    """All known dimension sizes of the inputs and outputs."""
    return frozenset(size for tensor in signature.inputs + signature.outputs for size in tensor.fixed_sizes)


def _problem(tensor: TensorSpec) -> Optional[str]:
    if not tensor.tensor:
        return "is a SparseTensor without a tensor name, which TF Serving cannot fetch"
    if tensor.shape is None:
        return None  # not known before a run
    if not tensor.shape:
        return "is a scalar"
    if not tensor.has_open_batch:
        return f"has the fixed first dimension {tensor.shape[0]}"
    # The shape of a SparseTensor in three parts was found above by its fixed size; indices need this check.
    if _are_indices(tensor):
        return "has a row for each value of a SparseTensor, not for each item of the batch"
    return None


def _are_indices(tensor: TensorSpec) -> bool:
    return tensor.dtype == "int64" and tensor.shape == (None, 2) and tensor.key.endswith("indices")


def described(tensor: TensorSpec) -> str:
    """Key and shape of a tensor as text, for example `input_data [?, 32, ?, 3]`."""
    if tensor.shape is None:
        return f"{tensor.key} (of unknown rank)"
    return f"{tensor.key} {tensor.shape_text}"
