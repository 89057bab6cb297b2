"""Requests for a SavedModel's signatures: from a file, recorded beside it, or made up from what the signatures say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable, Dict, List, Mapping, Optional, Sequence, Set, Tuple

import numpy as np

from ckpt2saved.errors import ServingError, UsageError
from ckpt2saved.files.npz import NoArrays, read_arrays
from ckpt2saved.protobuf.data_types import STRING, numpy_dtype
from ckpt2saved.requests.request import Inputs, Request
from ckpt2saved.requests.splitting import batch_apart, batch_of, with_lines
from ckpt2saved.requests.warm_up.file import read_warm_up_requests
from ckpt2saved.saved_model.reading import read_signatures
from ckpt2saved.signature.tensors import Signature, TensorSpec

MADE_UP_SIZE = 64  # what stands for a size that a request may choose, other than the batch
MADE_UP = "a made-up request"  # its name in messages
_PIXELS = 255.0
_MOST_VALUES = 1 << 28
_MOST_RECORDED = 10  # of each signature: a file may hold a thousand, to warm up and not to compare


@dataclass(frozen=True)
class Requests:
    """What to ask, and a line for each signature that can't be asked."""

    requests: Tuple[Request, ...]
    unasked: Tuple[str, ...] = ()


Make = Callable[[Path, Mapping[str, Signature]], Requests]


def served_signatures(version_dir: Path) -> Dict[str, Signature]:
    """The signatures that can be asked; TensorFlow 2 keeps others of its own among them."""
    found = read_signatures(version_dir)
    return {name: found[name] for name in sorted(found) if not name.startswith("__") and _can_be_asked(found[name])}


def _can_be_asked(signature: Signature) -> bool:
    """Whether it has outputs, and all its tensors names."""
    return bool(signature.outputs) and all(tensor.tensor for tensor in signature.inputs + signature.outputs)


def gather_requests(
    version_dir: Path, make: Make, *, inputs: Optional[Path] = None, known: Sequence[Request] = ()
) -> Requests:
    """A request or more for each signature: from the file `inputs`, else as recorded, else `known`, else made up."""
    signatures = served_signatures(version_dir)
    chosen = list(read_inputs(inputs, signatures)) if inputs else []
    for source in (recorded_requests(version_dir), known):
        unasked = _without(signatures, chosen)
        chosen += [request for request in source if request.signature in unasked]
    chosen += _borrowed(signatures, chosen)
    made = make(version_dir, _without(signatures, chosen))
    return Requests(tuple(chosen) + made.requests, made.unasked)


def _borrowed(signatures: Mapping[str, Signature], chosen: Sequence[Request]) -> List[Request]:
    """For signatures without a request the inputs of one that feeds the same tensors: a known size, known to fit."""
    made = []
    for name, signature in _without(signatures, chosen).items():
        for request in chosen:
            if signatures[request.signature].inputs == signature.inputs:
                inputs = _with_batch_apart(signature, request.inputs)
                made.append(replace(request, name=MADE_UP, signature=name, inputs=inputs, is_made_up=True))
                break
    return made


def _with_batch_apart(signature: Signature, inputs: Inputs) -> Inputs:
    """The same lines, of which there are as many as no other size of the signature is, where the batch is open."""
    if batch_of(inputs) is None or not has_open_batch(signature):
        return inputs
    sizes = {size for value in inputs.values() for size in value.shape[1:]}
    return with_lines(inputs, batch_apart(sizes | _sizes(signature)))


def has_open_batch(signature: Signature) -> bool:
    """Whether every input has a first dimension that a request may choose."""
    return bool(signature.inputs) and all(tensor.has_open_batch for tensor in signature.inputs)


def _sizes(signature: Signature) -> Set[int]:
    return {size for tensor in signature.inputs + signature.outputs for size in tensor.fixed_sizes}


def recorded_requests(version_dir: Path) -> Tuple[Request, ...]:
    """The first of each signature in the version's warm-up file, which a server answers before the version goes live.

    None where that file can't be read, which is not for this module to judge.
    """
    try:
        recorded = read_warm_up_requests(version_dir)
    except ServingError:
        return ()
    chosen: List[Request] = []
    counts: Dict[str, int] = {}
    for request in recorded:
        counts[request.signature] = counts.get(request.signature, 0) + 1
        if counts[request.signature] <= _MOST_RECORDED:
            chosen.append(replace(request, outputs=None))
    return tuple(chosen)


def read_inputs(path: Path, signatures: Mapping[str, Signature]) -> Tuple[Request, ...]:
    """A request for each signature all of whose inputs are among the arrays of a .npz file; raises UsageError."""
    try:
        arrays = read_arrays(path)
    except NoArrays as error:
        raise UsageError(f"--inputs {path}: {error}") from error
    fitting = [s for s in signatures.values() if all(tensor.key in arrays for tensor in s.inputs)]
    if not fitting:
        wanted = [f"{s.name}: {', '.join((t.key for t in s.inputs))}" for s in signatures.values()]
        raise UsageError(
            f"--inputs {path}: it holds {', '.join(sorted(arrays)) or 'nothing'}, which is all the inputs of no"
            " signature; expected those of one",
            wanted,
        )
    requests: List[Request] = []
    problems: List[str] = []
    for signature in fitting:
        made, wrong = _converted(signature, arrays)
        problems += wrong
        requests.append(Request(path.name, signature.name, made, is_of_known_size=True))
    if problems:
        raise UsageError(f"--inputs {path}: these arrays do not fit", sorted(set(problems)))
    return tuple(requests)


def made_without_tensorflow(version_dir: Path, signatures: Mapping[str, Signature]) -> Requests:
    """Random pixels, and 1 for integers; whether the graph takes them, its answer tells."""
    requests: List[Request] = []
    unasked: List[str] = []
    for name, signature in signatures.items():
        try:
            batch = batch_apart(_sizes(signature) | {MADE_UP_SIZE})
            inputs = {tensor.key: _made_up(tensor, batch) for tensor in signature.inputs}
        except ValueError as error:
            unasked.append(cant_be_asked(name, str(error)))
        else:
            requests.append(Request(MADE_UP, name, inputs, is_made_up=True))
    return Requests(tuple(requests), tuple(unasked))


def cant_be_asked(signature: str, reason: str) -> str:
    """The line about a signature for which there is no request."""
    return f"{signature}: not asked: {reason}; pass requests that it answers with --inputs FILE.npz"


def _without(signatures: Mapping[str, Signature], requests: Sequence[Request]) -> Dict[str, Signature]:
    asked = {request.signature for request in requests}
    return {name: signature for name, signature in signatures.items() if name not in asked}


def _converted(signature: Signature, arrays: Mapping[str, np.ndarray]) -> Tuple[Dict[str, np.ndarray], List[str]]:
    inputs: Dict[str, np.ndarray] = {}
    problems: List[str] = []
    for tensor in signature.inputs:
        array = arrays[tensor.key]
        try:
            dtype = numpy_dtype(tensor.dtype)
        except ValueError as error:
            problems.append(f"{tensor.key}: {error}")
            continue
        if not _is_compatible(array.shape, tensor):
            problems.append(f"{tensor.key}: the shape {list(array.shape)}, expected {tensor.shape_text}")
        elif not (array.dtype.kind in "SU" if dtype.kind == "O" else np.can_cast(array.dtype, dtype, "same_kind")):
            wanted = "strings" if dtype.kind == "O" else dtype.name
            problems.append(f"{tensor.key}: {array.dtype} in the file, expected {wanted}")
        else:
            inputs[tensor.key] = _texts(array) if dtype.kind == "O" else array.astype(dtype)
    return inputs, problems


def _texts(array: np.ndarray) -> np.ndarray:
    found = np.empty(array.shape, object)
    for index in np.ndindex(*array.shape):
        text = array[index]
        found[index] = bytes(text) if isinstance(text, bytes) else str(text).encode("utf-8")
    return found


def _is_compatible(shape: Sequence[int], wanted: TensorSpec) -> bool:
    if wanted.shape is None:
        return True
    sizes = zip(shape, wanted.shape)
    return len(shape) == len(wanted.shape) and all(size == found for found, size in sizes if isinstance(size, int))


def _made_up(tensor: TensorSpec, batch: int) -> np.ndarray:
    if tensor.dtype == STRING:
        raise ValueError(f"{tensor.key} takes strings, which can't be guessed")
    if tensor.shape is None:
        raise ValueError(f"{tensor.key} may have any number of dimensions")
    dtype = numpy_dtype(tensor.dtype)
    shape = [
        size if isinstance(size, int) else MADE_UP_SIZE if axis else batch  # the rest as in the requests of an export
        for axis, size in enumerate(tensor.shape)
    ]
    if np.prod([float(size) for size in shape]) > _MOST_VALUES:
        raise ValueError(f"{tensor.key} has the shape {shape}, more than {_MOST_VALUES} values")
    if dtype.kind == "f" or dtype == np.uint8:
        return np.random.RandomState(0).uniform(0.0, _PIXELS, shape).astype(dtype)
    if dtype.kind in "iu":
        return np.ones(shape, dtype)
    raise ValueError(f"{tensor.key} takes {dtype.name}, which can't be guessed")
