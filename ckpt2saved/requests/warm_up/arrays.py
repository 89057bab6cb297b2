"""Make warm-up requests from a .npz file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence, Tuple

import numpy as np

from ckpt2saved.errors import WarmupError
from ckpt2saved.errors.problem import Problem
from ckpt2saved.files.npz import NoArrays, read_arrays
from ckpt2saved.requests.request import Request, with_bytes
from ckpt2saved.requests.warm_up.file import warm_up_request
from ckpt2saved.signature.tensors import Signature


def requests_of_file(path: Path, signatures: Sequence[Signature]) -> List[Request]:
    """One request for each signature and each record of the .npz file; raises WarmupError with all problems."""
    arrays = _arrays(path)
    known = sorted({spec.key for signature in signatures for spec in signature.inputs})
    problems = [
        Problem("unknown-input", key, "no such input", f"expected {', '.join(known)}")
        for key in sorted(arrays)
        if key not in known
    ]
    requests: List[Request] = []
    for signature in signatures:
        problems += [
            Problem("missing-input", spec.key, "missing") for spec in signature.inputs if spec.key not in arrays
        ]
        problems += _misfits(signature, arrays)
        if not problems:
            requests += [warm_up_request(signature.name, inputs) for inputs in _records(signature, arrays)]
    if problems:
        raise WarmupError(f"{path}: no requests can be made of it", list(dict.fromkeys(problems)))
    return requests


def _arrays(path: Path) -> Dict[str, np.ndarray]:
    try:
        return {name: with_bytes(array) for name, array in read_arrays(path).items()}
    except NoArrays as error:
        raise WarmupError(f"{path}: {error}") from error


def _misfits(signature: Signature, arrays: Mapping[str, np.ndarray]) -> List[Problem]:
    """The problems of the arrays for the inputs of one signature; missing arrays are skipped."""
    problems = []
    sizes: Dict[str, Tuple[int, str]] = {}
    counts: Dict[str, int] = {}
    for spec in signature.inputs:
        value = arrays.get(spec.key)
        if value is None:
            continue
        dtype = "string" if value.dtype == object else value.dtype.name
        if dtype != spec.dtype:
            problems.append(Problem("array-dtype", spec.key, f"{dtype} found, {spec.dtype} expected"))
        several = value.ndim == len(spec.dimensions) + 1
        shape = value.shape[1:] if several else value.shape
        if several:
            counts[spec.key] = value.shape[0]
        if len(shape) != len(spec.dimensions) or any(
            isinstance(size, int) and size != found for size, found in zip(spec.dimensions, shape)
        ):
            text = (
                f"the shape {brackets(value.shape)} found, {brackets(spec.dimensions)} expected, or that with the"
                " number of records as first dimension"
            )
            problems.append(Problem("array-shape", spec.key, text))
            continue
        for size, found in zip(spec.dimensions, shape):
            first, key = sizes.setdefault(size, (found, spec.key)) if isinstance(size, str) else (found, "")
            if first != found:
                problems.append(Problem("array-shape", spec.key, f"{size} is {found}, but {first} in {key}"))
    if len(set(counts.values())) > 1 or 0 in counts.values():
        where = ", ".join(f"{count} of {key}" for key, count in counts.items())
        found = "the same number of records of each is expected, and at least one"
        problems.append(Problem("array-records", where, found))
    return problems


def brackets(shape: Sequence[Any]) -> str:
    """A shape as text, for example [2, 32, 100, 3] or [batch, 32, width, 3]."""
    return f"[{', '.join(map(str, shape))}]"


def _records(signature: Signature, arrays: Mapping[str, np.ndarray]) -> List[Dict[str, np.ndarray]]:
    """The inputs of each record; arrays without a record axis are the same in all records."""
    several = {spec.key: arrays[spec.key].ndim > len(spec.dimensions) for spec in signature.inputs}
    counts = [arrays[key].shape[0] for key in several if several[key]]
    return [
        {key: np.asarray(arrays[key][number] if several[key] else arrays[key]) for key in several}
        for number in range(counts[0] if counts else 1)
    ]
