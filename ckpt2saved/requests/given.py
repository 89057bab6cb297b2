"""Check that given arrays fit the inputs of a signature, and read the requests of --inputs from a .npz file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Collection, Dict, List, Mapping, Sequence, Tuple

import numpy as np

from ckpt2saved.errors import UsageError
from ckpt2saved.errors.problem import Problem
from ckpt2saved.files.npz import NoArrays, read_arrays
from ckpt2saved.files.protobuf.data_types import STRING, numpy_dtype
from ckpt2saved.requests.request import Request, with_bytes
from ckpt2saved.signature.tensors import Signature, TensorSpec


def read_inputs(path: Path, signatures: Mapping[str, Signature]) -> Tuple[Request, ...]:
    """One request for each signature whose inputs are all in the .npz file; raises UsageError if there is none."""
    try:
        arrays = read_arrays(path)
    except NoArrays as error:
        raise UsageError(f"--inputs {path}: {error}") from error
    fitting = [s for s in signatures.values() if all(tensor.key in arrays for tensor in s.inputs)]
    if not fitting:
        expected = [
            Problem("missing-input", s.name, ", ".join(tensor.key for tensor in s.inputs)) for s in signatures.values()
        ]
        raise UsageError(
            f"--inputs {path}: it contains {', '.join(sorted(arrays)) or 'nothing'}, but for no signature all inputs;"
            " expected all inputs of one of these",
            expected,
        )
    requests: List[Request] = []
    problems: List[Problem] = []
    for signature in fitting:
        made, wrong = _converted(signature, arrays)
        problems += wrong
        requests.append(Request(path.name, signature.name, made, is_of_known_size=True))
    if problems:
        unique = sorted(set(problems), key=lambda problem: problem.text)
        raise UsageError(f"--inputs {path}: these arrays do not fit", unique)
    return tuple(requests)


def fitted(signature: Signature, given: Mapping[str, Any], where: str) -> Dict[str, np.ndarray]:
    """The values as arrays of the inputs' dtypes; strings as objects of bytes. `where` is used in messages.

    Raises UsageError with every input that is missing, has another shape or dtype, or is not in the signature.
    """
    keys = {tensor.key for tensor in signature.inputs}
    problems = [Problem("unknown-input", key, "the signature has no such input") for key in sorted(set(given) - keys)]
    problems += [
        Problem("missing-input", f"{tensor.key} {tensor.dtype} {tensor.shape_text}", "missing")
        for tensor in _missing(signature, given)
    ]
    arrays = {}
    for tensor in signature.inputs:
        if tensor.key in given:
            try:
                arrays[tensor.key] = _as_array(given[tensor.key], tensor)
            except ValueError as error:  # lists of unequal lengths
                problems.append(Problem("array-shape", tensor.key, str(error)))
    inputs, wrong = _converted(signature, arrays)
    if problems + wrong:
        raise UsageError(f"{where}: these are not the inputs of the signature {signature.name}", problems + wrong)
    return inputs


def _missing(signature: Signature, given: Collection[str]) -> List[TensorSpec]:
    return [tensor for tensor in signature.inputs if tensor.key not in given]


def _as_array(value: Any, tensor: TensorSpec) -> np.ndarray:
    """The value as an array; bytes remain objects, because numpy's own strings lose trailing zero bytes."""
    if isinstance(value, np.ndarray):
        return value
    return np.array(value, object) if tensor.dtype == STRING else np.asarray(value)


def _converted(signature: Signature, arrays: Mapping[str, np.ndarray]) -> Tuple[Dict[str, np.ndarray], List[Problem]]:
    """The inputs that are in `arrays`, and what is wrong with the others."""
    inputs: Dict[str, np.ndarray] = {}
    problems: List[Problem] = []
    for tensor in signature.inputs:
        if tensor.key not in arrays:
            continue
        array = arrays[tensor.key]
        try:
            dtype = numpy_dtype(tensor.dtype)
        except ValueError as error:
            problems.append(Problem("array-dtype", tensor.key, str(error)))
            continue
        if not _is_compatible(array.shape, tensor):
            found = f"the shape {list(array.shape)}, expected {tensor.shape_text}"
            problems.append(Problem("array-shape", tensor.key, found))
        elif not (_are_strings(array) if dtype.kind == "O" else np.can_cast(array.dtype, dtype, "same_kind")):
            expected = "strings" if dtype.kind == "O" else dtype.name
            problems.append(Problem("array-dtype", tensor.key, f"{array.dtype}, expected {expected}"))
        else:
            inputs[tensor.key] = with_bytes(array) if dtype.kind == "O" else array.astype(dtype)
    return inputs, problems


def _are_strings(array: np.ndarray) -> bool:
    if array.dtype.kind == "O":
        return all(isinstance(item, (bytes, str)) for item in array.ravel().tolist())
    return array.dtype.kind in "SU"


def _is_compatible(shape: Sequence[int], spec: TensorSpec) -> bool:
    if spec.shape is None:
        return True
    sizes = zip(shape, spec.shape)
    return len(shape) == len(spec.shape) and all(size == found for found, size in sizes if isinstance(size, int))
