"""The requests of the parity check between SavedModel files and checkpoint."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Sequence

import numpy as np

from ckpt2saved.errors import SignatureError
from ckpt2saved.errors.problem import Problem
from ckpt2saved.graph.tf1 import tf
from ckpt2saved.requests.made_up_by_shape import HIGHEST_PIXEL, MADE_UP_SIZE, MOST_VALUES
from ckpt2saved.requests.request import Request
from ckpt2saved.requests.splitting import batch_apart
from ckpt2saved.signature.model import ExampleInput, ParityCase, ServedModel
from ckpt2saved.signature.tensors import Dimension, TensorSpec

RANDOM_WILL_DO = ("float", "bfloat", "uint8")  # dtypes of images


def parity_requests(model: ServedModel, cases: Sequence[ParityCase]) -> List[Request]:
    """The parity requests: one for each case and each signature.

    Raises SignatureError if an input cannot be made as the file describes.
    """
    asked: List[Request] = []
    for number, case in enumerate(cases):
        inputs = case_inputs(model, case, number)
        asked += [
            Request(f"parity[{number}]", signature.name, {spec.key: inputs[spec.key] for spec in signature.inputs})
            for signature in model.signatures
        ]
    return asked


def case_inputs(model: ServedModel, case: ParityCase, number: int = 0) -> Dict[str, np.ndarray]:
    """The inputs of all signatures by key, made for the parity case; raises SignatureError if it is invalid."""
    inputs: Dict[str, np.ndarray] = {}
    problems: List[Problem] = []
    for spec in {spec.key: spec for signature in model.signatures for spec in signature.inputs}.values():
        try:
            inputs[spec.key] = _array(spec, case, seed=number)
        except ValueError as error:
            problems.append(Problem("example-input", f"parity[{number}].inputs.{spec.key}", str(error)))
    if problems:
        raise SignatureError(f"{model.source}: the inputs to compare on can't be made", problems)
    return inputs


def default_case(model: ServedModel, known: Mapping[str, ExampleInput] = {}, refusal: str = "") -> ParityCase:
    """A parity case with `known` inputs and random pixels; raises SignatureError if another input cannot be random.

    `refusal` is what the graph failed with when values for that input were tried.
    """
    specs = {spec.key: spec for signature in model.signatures for spec in signature.inputs}
    unknown = [key for key, spec in specs.items() if key not in known and not spec.dtype.startswith(RANDOM_WILL_DO)]
    if unknown:
        raise SignatureError(
            f"{model.source}: it needs a 'parity' part that says how to make {', '.join(unknown)}: the staged version"
            " is compared with the checkpoint on such inputs"
            + (f". The graph fails with the values that were tried: {refusal}" if refusal else "")
        )
    dims = {name: size for name, size in default_sizes(model).items() if isinstance(name, str)}
    return ParityCase(dims, {key: known.get(key, ExampleInput((0.0, HIGHEST_PIXEL), None)) for key in specs})


def default_sizes(model: ServedModel) -> Dict[Dimension, int]:
    """Dimension (name or number) -> its size in the requests of `default_case`."""
    specs = [spec for signature in model.signatures for spec in signature.inputs]
    batches = {spec.dimensions[0] for spec in specs if spec.dimensions}
    sizes = {size for spec in specs for size in spec.dimensions}
    outputs = {size for signature in model.signatures for spec in signature.outputs for size in spec.shape or ()}
    batch = batch_apart(sizes | outputs | {MADE_UP_SIZE})
    return {size: size if isinstance(size, int) else batch if size in batches else MADE_UP_SIZE for size in sizes}


def _array(spec: TensorSpec, case: ParityCase, seed: int) -> np.ndarray:
    shape = tuple(size if isinstance(size, int) else case.dims[str(size)] for size in spec.dimensions)
    count = 1
    for size in shape:
        count *= size
    if count > MOST_VALUES:
        raise ValueError(f"the shape {list(shape)} has {count} values; at most {MOST_VALUES} are made")
    dtype = tf.as_dtype(spec.dtype).as_numpy_dtype
    example = case.inputs[spec.key]
    if example.uniform is not None:
        low, high = example.uniform
        return np.random.RandomState(seed).uniform(low, high, shape).astype(dtype)
    try:
        values = np.array(example.values, dtype)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"the values are not {spec.dtype}") from None
    if not _are_as_given(values, example.values):
        raise ValueError(f"the values are not {spec.dtype}")
    if not values.shape:
        return np.full(shape, values)
    if values.shape != shape:
        raise ValueError(f"the values have the shape {list(values.shape)}, expected {list(shape)}")
    return values


def _are_as_given(values: np.ndarray, given: Any) -> bool:
    """Whether numpy kept the given values: it turns 1.5 into 1, and accepts a list in place of a string."""
    if values.dtype.kind == "O":
        return all(isinstance(value, (str, bytes)) for value in values.ravel().tolist())
    return values.dtype.kind not in "iu" or bool(np.all(np.array(given) == values))
